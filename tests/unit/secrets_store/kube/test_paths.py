import pytest

from secrets_store import errors
from secrets_store.kube import paths

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (paths.pods(), "/api/v1/pods"),
        (paths.pods("web"), "/api/v1/namespaces/web/pods"),
        (paths.pods("web", "a"), "/api/v1/namespaces/web/pods/a"),
        (paths.secrets("web"), "/api/v1/namespaces/web/secrets"),
        (paths.secrets("web", "a"), "/api/v1/namespaces/web/secrets/a"),
        (paths.events("web"), "/api/v1/namespaces/web/events"),
        (paths.events("web", "a.1f"), "/api/v1/namespaces/web/events/a.1f"),
        (paths.classes(), f"{CLASSES}/secretproviderclasses"),
        (paths.classes("web", "a"), f"{CLASSES}/namespaces/web/secretproviderclasses/a"),
        (paths.pod_statuses(), f"{CLASSES}/secretproviderclasspodstatuses"),
        (
            paths.pod_statuses("web", "a"),
            f"{CLASSES}/namespaces/web/secretproviderclasspodstatuses/a",
        ),
        (paths.nodes("n1"), "/api/v1/nodes/n1"),
        (paths.csi_nodes("n1"), "/apis/storage.k8s.io/v1/csinodes/n1"),
    ],
)
def test_path_of_each_resource(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("../../secrets/x", "..%2F..%2Fsecrets%2Fx"),
        ("a?watch=1#x", "a%3Fwatch%3D1%23x"),
        ("%2e%2e", "%252e%252e"),
        ("a b\r\nHost: x", "a%20b%0D%0AHost%3A%20x"),
        ("ü", "%C3%BC"),
    ],
)
def test_name_is_one_segment_whatever_it_holds(name: str, segment: str) -> None:
    assert paths.secrets("web", name) == f"/api/v1/namespaces/web/secrets/{segment}"
    assert paths.secrets(name, "x") == f"/api/v1/namespaces/{segment}/secrets/x"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_name_that_would_address_something_else_is_refused(name: str) -> None:
    with pytest.raises(errors.Rejected):
        paths.secrets("web", name)
    with pytest.raises(errors.Rejected):
        paths.secrets(name, "x")


def test_resource_as_a_right_names_it() -> None:
    assert paths.resource(paths.pods()) == "pods"
    assert paths.resource(paths.classes("web")) == (
        "secretproviderclasses.secrets-store.csi.x-k8s.io"
    )
