"""What applying one set of manifests over the other takes away or leaves, the page must tell."""

import pytest

from tests.deploy import manifests, upstream

TEXT = (manifests.ROOT / "docs" / "migrate.md").read_text()


def section(heading: str) -> str:
    """Return what stands under a heading of the page."""
    return TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def roles(objects: list[manifests.Object]) -> set[str]:
    """Return the names of cluster roles and their bindings."""
    return {
        obj["metadata"]["name"]
        for obj in objects
        if obj["kind"] in ("ClusterRole", "ClusterRoleBinding")
    }


@pytest.mark.parametrize("version", upstream.VERSIONS)
def test_rights_that_stay_are_named(version: str) -> None:
    left = roles(upstream.rights(version)) - roles(list(manifests.folder()))
    assert left
    for name in left:
        assert name in section("Which way"), name


def test_audiences_are_kept_in_both_directions() -> None:
    ours = manifests.one(manifests.folder(), "CSIDriver", "secrets-store.csi.k8s.io")
    assert ours["spec"]["tokenRequests"]
    assert "tokenRequests" not in upstream.csi_driver("v1.6.0")["spec"]
    # Both are lists that are replaced as a whole.
    assert "tokenRequests" in section("Which way")
    assert "tokenRequests" in section("Back")
