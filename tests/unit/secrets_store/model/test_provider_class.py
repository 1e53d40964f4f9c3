from typing import Any

import pytest

from secrets_store import errors
from secrets_store.model import provider_class

FULL: dict[str, Any] = {
    "metadata": {
        "namespace": "team",
        "name": "db",
        "uid": "1-2-3",
        "generation": 7,
        "annotations": {
            "secrets-store.csi.k8s.io/rotation-interval": "30s",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    },
    "spec": {
        "provider": "kms",
        "parameters": {"objects": "- a"},
        "secretObjects": [{"secretName": "db"}],
    },
}


def test_every_part_is_read() -> None:
    assert provider_class.ProviderClass.from_dict(FULL) == provider_class.ProviderClass(
        namespace="team",
        name="db",
        uid="1-2-3",
        generation=7,
        provider="kms",
        parameters={"objects": "- a"},
        secret_objects=({"secretName": "db"},),
        annotations={"secrets-store.csi.k8s.io/rotation-interval": "30s"},
    )


@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": {"namespace": "team", "name": "db"}},
        {"metadata": {"namespace": "team", "name": "db", "annotations": None}, "spec": None},
        {
            "metadata": {"namespace": "team", "name": "db"},
            "spec": {"provider": None, "parameters": None, "secretObjects": None},
        },
    ],
)
def test_absent_parts_are_empty(obj: dict[str, Any]) -> None:
    assert provider_class.ProviderClass.from_dict(obj) == provider_class.ProviderClass(
        "team", "db", "", 0, "", {}, (), {}
    )


def with_spec(**spec: Any) -> provider_class.ProviderClass:
    return provider_class.ProviderClass.from_dict(FULL | {"spec": FULL["spec"] | spec})


def test_a_whole_class_can_be_used() -> None:
    with_spec().check()


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", None),
        ("  ", None),
        ("0440", 0o440),
        ("440", 0o440),
        ("0o440", 0o440),
        (" 0600\n", 0o600),
        ("0", 0),
        ("0777", 0o777),
    ],
)
def test_the_default_mode_of_files(text: str, mode: int | None) -> None:
    assert with_spec(parameters={provider_class.DEFAULT_MODE: text}).default_mode == mode


def test_no_default_mode() -> None:
    assert with_spec().default_mode is None


@pytest.mark.parametrize(
    "text", ["1777", "00440", "0888", "rw", "-440", "+440", "0x1b", "4_4", "٤٤٠", "0o", "0o0o44"]
)
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(errors.ClassInvalid, match="must be an octal mode such as 0440"):
        assert with_spec(parameters={provider_class.DEFAULT_MODE: text}).default_mode


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"provider": ""}, "provider not set in team/db"),
        ({"parameters": {}}, "parameters not set in team/db"),
        ({"provider": "", "parameters": {}}, "provider not set in team/db"),
    ],
)
def test_an_incomplete_class_is_refused(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.ClassInvalid) as caught:
        with_spec(**spec).check()

    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T03:04:05.5Z", 1767323045.5),
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("2026-01-02T04:04:05+01:00", 1767323045.0),
        (" 2026-01-02T03:04:05Z\n", 1767323045.0),
        ("", None),
        ("  ", None),
        ("now", None),
        ("1767323045", None),
        ("2026-01-02", None),
        pytest.param("2026-01-02T03:04:05", None, id="of no time zone"),
        ("2026-13-02T03:04:05Z", None),
        ("0001-01-01T00:00:00+14:00", -62135647200.0),
    ],
)
def test_a_wish_for_a_refresh(text: str, unix_s: float | None) -> None:
    got = provider_class.refresh_requested_s({provider_class.REFRESH_REQUESTED_AT: text})

    assert got == (None if unix_s is None else pytest.approx(unix_s, abs=1e-6))


def test_nobody_asked_for_a_refresh() -> None:
    assert provider_class.refresh_requested_s({}) is None


@pytest.mark.parametrize(
    ("annotation", "default_s", "interval_s"),
    [
        pytest.param(None, 120.0, 120.0, id="the flag's"),
        pytest.param(None, None, None, id="rotation is off"),
        pytest.param("", 120.0, 120.0, id="empty annotation"),
        ("30s", 120.0, 30.0),
        pytest.param("30s", None, 30.0, id="on for this class only"),
        ("never", 120.0, None),
        (" 1h ", 120.0, 3600.0),
        ("1s", 120.0, 1.0),
        ("8784h", 120.0, 366 * 86400.0),
    ],
)
def test_the_interval_of_a_class(
    annotation: str | None, default_s: float | None, interval_s: float | None
) -> None:
    annotations = {} if annotation is None else {provider_class.ROTATION_INTERVAL: annotation}

    assert provider_class.interval_s(annotations, default_s) == interval_s


@pytest.mark.parametrize(
    "annotation", ["999ms", "0", "-1m", "8784h1s", "soon", "30", "Never", "9999999h"]
)
def test_an_interval_that_cannot_be_kept_is_refused(annotation: str) -> None:
    annotations = {provider_class.ROTATION_INTERVAL: annotation}

    with pytest.raises(errors.ClassInvalid, match=provider_class.ROTATION_INTERVAL):
        provider_class.interval_s(annotations, 120.0)


@pytest.mark.parametrize(
    ("text", "before", "asked"),
    [
        ("2026-01-02T03:04:05Z", None, True),
        ("2026-01-02T03:04:03Z", None, False),
        ("2026-01-02T03:04:03Z", "", True),
        ("2026-01-02T03:04:03Z", "2026-01-02T03:04:09Z", True),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", False),
        ("soon", "", False),
        ("", "2026-01-02T03:04:05Z", False),
    ],
)
def test_a_request_counts_once(text: str, before: str | None, asked: bool) -> None:
    annotations = {provider_class.REFRESH_REQUESTED_AT: text}
    since_s = 1767323044.0  # 2026-01-02T03:04:04Z
    assert provider_class.refresh_asked(annotations, before=before, since_s=since_s) is asked
