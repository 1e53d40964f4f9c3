import datetime
from typing import Any

import pytest

from provider_kms.model import window

NOW = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.UTC)


def ago(seconds: float) -> str:
    return (NOW - datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(**status: Any) -> dict[str, Any]:
    mounts = [{"name": "secrets"}]
    return {
        "metadata": {"creationTimestamp": ago(1000)},
        "spec": {
            "containers": [{"name": "app", "volumeMounts": mounts}, {"name": "side"}],
            "initContainers": [{"name": "init", "volumeMounts": mounts}],
        },
        "status": status,
    }


def running(name: str, seconds: float) -> dict[str, Any]:
    return {"name": name, "state": {"running": {"startedAt": ago(seconds)}}}


@pytest.mark.parametrize(
    ("obj", "volume", "seconds"),
    [
        (pod(), "secrets", 1000),
        (pod(startTime=ago(900)), "secrets", 900),
        (pod(startTime=ago(900), containerStatuses=[running("app", 20)]), "secrets", 20),
        (pod(startTime=ago(900), containerStatuses=[running("app", 20)]), "", 900),
        (pod(startTime=ago(900), containerStatuses=[running("app", 20)]), "other", 900),
        (pod(startTime=ago(900), containerStatuses=[running("side", 20)]), "secrets", 900),
        (pod(startTime=ago(900), initContainerStatuses=[running("init", 30)]), "secrets", 30),
        (pod(startTime=ago(900), ephemeralContainerStatuses=[running("app", 1)]), "secrets", 900),
        (pod(startTime=ago(10), containerStatuses=[running("app", 20)]), "secrets", 10),
        (
            pod(startTime=ago(900), containerStatuses=[{"name": "app", "state": {"waiting": {}}}]),
            "secrets",
            900,
        ),
        (pod(startTime=ago(9), containerStatuses="no list"), "secrets", 9),
        (pod(startTime=ago(9), containerStatuses=[None, running("app", -5)]), "secrets", -5),
    ],
)
def test_reference(obj: dict[str, Any], volume: str, seconds: float) -> None:
    assert (NOW - window.reference(obj, volume)).total_seconds() == seconds


@pytest.mark.parametrize(
    ("seconds", "is_open"), [(299, True), (300, False), (301, False), (-10, True)]
)
def test_open_is_strictly_less(seconds: float, is_open: bool) -> None:
    assert window.is_open(pod(startTime=ago(seconds)), "secrets", 300, NOW) is is_open


@pytest.mark.parametrize(
    "obj",
    [
        {},
        {"metadata": {"creationTimestamp": "yesterday"}},
        {"metadata": {"creationTimestamp": "2026-01-01T00:00:00"}},
        {"metadata": [], "status": None},
    ],
)
def test_no_start(obj: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no start time"):
        window.is_open(obj, "secrets", 300, NOW)
