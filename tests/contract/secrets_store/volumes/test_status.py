"""SecretProviderClassPodStatus objects: when they are written, and what stands in the way."""

import pathlib
from typing import Any

import pytest

from devkit import stage
from devkit.apiserver import server
from tests.contract.secrets_store.conftest import Driver, Start, eventually

pytestmark = pytest.mark.root
API, KIND = "secrets-store.csi.x-k8s.io/v1", "SecretProviderClassPodStatus"
NODE_LABEL = "internal.secrets-store.csi.k8s.io/node-name"
RESOURCE = "secretproviderclasspodstatuses"


def foreign(name: str = "pod-pod1-default-app", **metadata: Any) -> dict[str, Any]:
    """A status object that somebody else made."""
    return {
        "apiVersion": API,
        "kind": KIND,
        "metadata": {"name": name, "namespace": "default"} | metadata,
        "status": {"podName": "other", "targetPath": "/etc", "mounted": False},
    }


def statuses(driver: Driver) -> dict[str, Any]:
    return {x["metadata"]["name"]: x for x in driver.api.list_all(API, KIND)}


def writes(driver: Driver) -> list[tuple[str, int]]:
    found = driver.api.requests.entries(resource=RESOURCE)
    return [(x.method, x.code) for x in found if x.method != "GET"]


async def test_a_new_one_costs_one_request(driver: Driver) -> None:
    await driver.publish()
    assert writes(driver) == [("POST", 201)]


async def test_an_existing_one_without_labels_is_taken_over(driver: Driver) -> None:
    """A10: upstream writes into its label map, which is nil, and the process is gone."""
    driver.api.create(foreign())
    await driver.publish()
    found = statuses(driver)["pod-pod1-default-app"]
    assert found["metadata"]["labels"] == {NODE_LABEL: stage.NODE}
    assert found["status"]["targetPath"] == driver.node.target("pod1")
    assert found["status"]["podName"] == "pod-pod1"
    assert [x["uid"] for x in found["metadata"]["ownerReferences"]] == ["pod1"]


async def test_what_others_have_added_stays(driver: Driver) -> None:
    driver.api.create(
        foreign(labels={"team": "blue"}, annotations={"note": "x"}, finalizers=["example.com/f"])
    )
    await driver.publish()
    metadata = statuses(driver)["pod-pod1-default-app"]["metadata"]
    assert metadata["labels"] == {"team": "blue", NODE_LABEL: stage.NODE}
    assert metadata["annotations"] == {"note": "x"}
    assert metadata["finalizers"] == ["example.com/f"]


async def test_a_conflict_is_tried_again_with_what_is_there_then(
    driver: Driver, api: server.APIServer
) -> None:
    """A9: upstream takes a conflict for a failure."""
    driver.api.create(foreign())
    api.faults.add(verb="update", resource=RESOURCE, code=409, reason="Conflict", count=1)
    await driver.publish()
    assert statuses(driver)["pod-pod1-default-app"]["status"]["podName"] == "pod-pod1"
    assert writes(driver)[-1] == ("PUT", 200)


async def test_the_same_again_is_not_written(driver: Driver) -> None:
    """A9: upstream writes twice for each volume at each republish."""
    await driver.publish()
    for _ in range(3):
        await driver.publish()
    assert len(writes(driver)) == 1


async def test_one_that_somebody_has_edited_is_repaired_at_the_next_check(start: Start) -> None:
    """A forged targetPath is believed nowhere, and goes (CVE-2020-8568)."""
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        victim = driver.node.root / "victim"
        victim.mkdir()
        (victim / "password").write_bytes(b"precious")
        await driver.publish()
        forged = statuses(driver)["pod-pod1-default-app"]
        forged["status"]["targetPath"] = str(victim)
        driver.api.update(forged)
        driver.provider.files = {"password": b"second"}

        def repaired() -> bool:
            found = statuses(driver)["pod-pod1-default-app"]["status"]
            return bool(found["targetPath"] == driver.node.target("pod1"))

        await eventually(repaired)
        volume = pathlib.Path(driver.node.target("pod1"))
        await eventually(lambda: (volume / "password").read_bytes() == b"second")
        assert [x.name for x in victim.iterdir()] == ["password"]
        assert (victim / "password").read_bytes() == b"precious"


async def test_one_that_somebody_has_deleted_comes_back(start: Start) -> None:
    async with start(enable_secret_rotation=True, rotation_poll_interval_s=0.1) as driver:
        await driver.publish()
        driver.api.delete(API, KIND, "pod-pod1-default-app", "default")
        await eventually(driver.status)


async def test_two_volumes_of_one_class_have_two_objects(driver: Driver) -> None:
    """A12: upstream lets them share one, whose targetPath then goes back and forth."""
    await driver.publish(volume="first")
    await driver.publish(volume="second")
    found = statuses(driver)
    assert len(found) == 2
    assert {x["status"]["targetPath"] for x in found.values()} == {
        driver.node.target("pod1", "first"),
        driver.node.target("pod1", "second"),
    }
    # The first has upstream's name, for which tools look.
    assert found["pod-pod1-default-app"]["status"]["targetPath"].endswith("/first/mount")


async def test_names_that_run_together_are_told_apart(driver: Driver) -> None:
    """A11: pod, namespace and class are joined by dashes."""
    driver.api.create(stage.class_object("b-default-app"))
    name = "csi.storage.k8s.io/pod.name"
    await driver.publish("pod1", context={name: "a-default-b"})
    await driver.publish("pod2", class_name="b-default-app", context={name: "a"})
    found = statuses(driver)
    assert {x["status"]["podName"] for x in found.values()} == {"a-default-b", "a"}


async def test_names_that_are_too_long_are_shortened(driver: Driver) -> None:
    """A11: upstream's are refused by the API server, and the pod never starts."""
    long = "p" * 253
    await driver.publish(context={"csi.storage.k8s.io/pod.name": long})
    (name,) = statuses(driver)
    assert name.startswith("p" * 200)
    assert len(name) <= 253


async def test_a_node_with_a_long_name_still_finds_its_objects(start: Start) -> None:
    """A11: a name of more than 63 characters is no label."""
    node_id = "ip-" + "10-0-0-1." * 8 + "internal"
    async with start(node_id=node_id) as driver:
        await driver.publish()
        metadata = statuses(driver)["pod-pod1-default-app"]["metadata"]
        assert len(metadata["labels"][NODE_LABEL]) <= 63
        assert node_id in metadata["annotations"].values()
        await eventually(lambda: driver.api.watches == 3)


@pytest.mark.timeout(15)
async def test_what_could_not_be_written_is_written_later(
    driver: Driver, api: server.APIServer
) -> None:
    """A13: upstream takes the good mount down; an outage of the API then blocks pods."""
    api.faults.add(verb="create", resource=RESOURCE, drop=True, count=2)
    volume = await driver.publish()
    assert (volume / "password").read_bytes() == b"first"
    assert await eventually(driver.status, 12.0)
    assert len(driver.provider.calls) == 1


async def test_the_object_is_left_to_the_garbage_collector(driver: Driver) -> None:
    await driver.publish()
    await driver.unpublish()
    assert "pod-pod1-default-app" in statuses(driver)
    assert ("DELETE", 200) not in writes(driver)
