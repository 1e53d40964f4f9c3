"""What is told of a volume: log lines, events and metrics."""

import logging

import pytest

from secrets_store import errors, metrics
from secrets_store.kube import reflector, store
from secrets_store.log import Sealed
from secrets_store.model import payload, record, volume
from secrets_store.volumes import events, journal

POD = volume.Pod("shop", "web", "uid1")
SCOPE = {
    "os_type": metrics.OS_TYPE,
    "provider": "vault",
    "otel_scope_name": "sigs.k8s.io/secrets-store-csi-driver",
    "otel_scope_schema_url": "",
    "otel_scope_version": "",
}
KNOWN = record.Record(
    volume_id="v", target_path="/t", pod=POD, service_account="buyer", class_name="cls",
    class_uid="", class_generation=1, provider="vault", objects={"b": "7", "a": "3"},
    attributes={}, last_check_s=0.0, last_change_s=0.0, status_name="s", group=None, boot_id="",
)  # fmt: skip
AUDIT = {
    "pod": POD,
    "serviceAccount": "buyer",
    "spc": "cls",
    "provider": "vault",
    "targetPath": "/t",
    "objects": "a@3, b@7",
}
EMPTY = payload.Payload({}, ())
FAILURE = errors.ProviderFailed("it is sealed", code=errors.Code.UNAVAILABLE)


class Told(events.Events):
    """Events as they were asked for."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, volume.Pod, str, str, str]] = []

    def warning(
        self, pod: volume.Pod, reason: str, message: str, *, source: str = events.CONTROLLER
    ) -> None:
        self.sent.append(("Warning", pod, reason, message, source))

    def normal(
        self, pod: volume.Pod, reason: str, message: str, *, source: str = events.CONTROLLER
    ) -> None:
        self.sent.append(("Normal", pod, reason, message, source))


class Desk:
    """A journal, and all that it has told."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog, self.told, self._counted = caplog, Told(), metrics.Metrics()
        self.pods = store.Pods()
        self.journal = journal.Journal(self.told, self._counted, self.pods)

    def lines(self) -> list[tuple[int, str, dict[str, object]]]:
        return [
            (line.levelno, line.getMessage(), line.__dict__["pairs"])
            for line in self._caplog.records
        ]

    def count(self, name: str, **labels: str) -> float | None:
        return self._counted.registry.get_sample_value(name, SCOPE | labels)


@pytest.fixture
def desk(caplog: pytest.LogCaptureFixture) -> Desk:
    caplog.set_level(logging.DEBUG)
    return Desk(caplog)


def a_request() -> volume.PublishRequest:
    return volume.PublishRequest(
        volume_id="v",
        target_path="/t",
        class_name="cls",
        pod=POD,
        service_account="buyer",
        attributes={},
        override_keys=("region", "role"),
        handover=volume.Handover(Sealed(""), Sealed({}), Sealed({"region": "x", "role": "y"})),
        group=None,
        mock=False,
    )


def test_a_publish_is_one_audit_line(desk: Desk) -> None:
    desk.journal.published(KNOWN, 0.123456)

    assert desk.lines() == [(logging.INFO, "volume published", AUDIT | {"seconds": 0.1235})]
    assert desk.told.sent == []


def test_an_adoption_has_taken_no_time(desk: Desk) -> None:
    desk.journal.adopted(KNOWN)

    assert desk.lines() == [(logging.INFO, "volume adopted", AUDIT)]


def test_a_publish_that_waits_says_for_what(desk: Desk) -> None:
    desk.journal.waits(a_request(), "provider vault is away")

    assert desk.lines() == [
        (
            logging.WARNING,
            "publish waits",
            {"pod": POD, "spc": "cls", "reason": "provider vault is away"},
        )
    ]
    assert desk.told.sent == [
        (
            "Warning",
            POD,
            "SecretsNotAvailableYet",
            "waiting: provider vault is away",
            events.CONTROLLER,
        )
    ]


def test_attributes_that_were_kept_back_are_named_without_their_values(desk: Desk) -> None:
    desk.journal.attributes_ignored(a_request())

    ((sort, pod, reason, message, _),) = desk.told.sent
    assert (sort, pod, reason) == ("Warning", POD, "VolumeAttributesIgnored")
    assert "cls, left out: region, role (" in message


def test_files_that_came_twice_are_named(desk: Desk) -> None:
    desk.journal.duplicates(POD, payload.Payload({}, ()))
    assert desk.told.sent == []

    desk.journal.duplicates(POD, payload.Payload({}, ("a", "b/c")))

    ((sort, pod, reason, message, _),) = desk.told.sent
    assert (sort, pod, reason) == ("Warning", POD, "DuplicateFiles")
    assert "for a, b/c;" in message


def test_a_refresh_with_changes_is_told_everywhere(desk: Desk) -> None:
    desk.journal.refreshed(KNOWN, EMPTY, changed=True, healed=False, seconds=0.5)

    assert desk.lines() == [(logging.INFO, "volume refreshed", AUDIT | {"seconds": 0.5})]
    assert [one[:3] + one[4:] for one in desk.told.sent] == [
        ("Normal", POD, "MountRotationComplete", events.ROTATION)
    ]
    assert "shop/cls" in desk.told.sent[0][3]
    assert desk.count("rotation_reconcile_total", rotated="true") == 1


def test_a_refresh_without_changes_is_only_counted(desk: Desk) -> None:
    desk.journal.refreshed(KNOWN, EMPTY, changed=False, healed=False, seconds=0.5)

    assert (desk.lines(), desk.told.sent) == ([], [])
    assert desk.count("rotation_reconcile_total", rotated="false") == 1


def test_a_refresh_that_works_again_is_a_line(desk: Desk) -> None:
    desk.journal.refreshed(KNOWN, EMPTY, changed=False, healed=True, seconds=0.5)

    facts = {"pod": POD, "spc": "cls", "provider": "vault"}
    assert desk.lines() == [(logging.INFO, "refresh works again", facts)]
    assert desk.told.sent == []


def test_a_pod_that_is_ending_is_told_nothing(desk: Desk) -> None:
    metadata = {"uid": POD.uid, "name": POD.name, "namespace": POD.namespace}
    ending = store.Pod.from_dict({"metadata": metadata | {"deletionTimestamp": "x"}})
    desk.pods.on_event(reflector.Added(ending))

    desk.journal.refresh_failed(KNOWN, FAILURE, failures=1, retry_in_s=1.0)

    assert [line[1] for line in desk.lines()] == ["refresh failed, the volume keeps its files"]
    assert desk.told.sent == []


def test_of_failures_in_a_row_the_first_is_worth_a_line(desk: Desk) -> None:
    for failures in (1, 2, 3):
        desk.journal.refresh_failed(KNOWN, FAILURE, failures=failures, retry_in_s=1.26)

    assert [line[0] for line in desk.lines()] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
    assert desk.lines()[0][2] == {
        "pod": POD,
        "spc": "cls",
        "provider": "vault",
        "reason": "it is sealed",
        "retryInSeconds": 1.3,
    }
    count = desk.count(
        "rotation_reconcile_error_total", rotated="false", error_type="GRPCProviderError"
    )
    assert count == 3
    assert len(desk.told.sent) == 3


def test_a_check_that_was_held_is_an_event_alone(desk: Desk) -> None:
    desk.journal.refresh_held(KNOWN, FAILURE)

    assert desk.lines() == []
    assert desk.told.sent == [
        (
            "Warning",
            POD,
            "MountRotationFailed",
            "provider mount err: it is sealed",
            events.ROTATION,
        )
    ]
    labels = {"rotated": "false", "error_type": "GRPCProviderError"}
    assert desk.count("rotation_reconcile_error_total", **labels) is None
