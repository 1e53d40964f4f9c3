import dataclasses
from typing import Any

import pytest

from secrets_store import errors, settings


def test_upstream_s_flags_have_its_names_and_defaults() -> None:
    upstream = {
        settings.flag_name(field): field.default
        for field in dataclasses.fields(settings.Settings)
        if not field.metadata["ours"]
    }

    assert upstream == {
        "endpoint": "unix://tmp/csi.sock",
        "drivername": "secrets-store.csi.k8s.io",
        "nodeid": "",
        "log-format-json": False,
        "provider-volume": "/var/run/secrets-store-csi-providers",
        "additional-provider-volume-paths": "/etc/kubernetes/secrets-store-csi-providers",
        "metrics-addr": ":8095",
        "enable-secret-rotation": False,
        "rotation-poll-interval": 120.0,
        "enable-pprof": False,
        "pprof-port": 6065,
        "max-call-recv-msg-size": 4194304,
        "provider-health-check": False,
        "provider-health-check-interval": 120.0,
        "version": False,
        "metrics-backend": "Prometheus",
        "kubeconfig": "",
        "v": 0,
    }


def test_every_flag_tells_what_it_does() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(settings.Settings))


def test_the_defaults_can_be_used() -> None:
    settings.Settings().check()


@pytest.mark.parametrize(
    "change",
    [
        {"metrics_backend": "prometheus"},
        {"metrics_backend": "PROMETHEUS"},
        {"rotation_poll_interval_s": 0.001},
        {"tmpfs_size": 4096, "tmpfs_inodes": 1, "provider_concurrency": 1},
    ],
)
def test_what_can_be_used(change: dict[str, Any]) -> None:
    settings.Settings(**change).check()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metrics_backend": "OpenCensus"}, "unsupported metrics backend OpenCensus"),
        ({"metrics_backend": ""}, "unsupported metrics backend"),
        ({"rotation_poll_interval_s": 0.0}, "rotation-poll-interval"),
        ({"rotation_poll_interval_s": -1.0}, "rotation-poll-interval"),
        ({"provider_health_check_interval_s": 0.0}, "provider-health-check-interval"),
        ({"max_call_recv_msg_size": 0}, "max-call-recv-msg-size"),
        ({"tmpfs_size": -1}, "tmpfs-size"),
        ({"tmpfs_inodes": 0}, "tmpfs-inodes"),
        ({"provider_concurrency": 0}, "provider-concurrency"),
    ],
)
def test_what_cannot_be_used(change: dict[str, Any], told: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=told):
        settings.Settings(**change).check()


@pytest.mark.parametrize(
    ("change", "size_bytes"),
    [
        pytest.param({}, 64 << 20, id="the least"),
        ({"max_call_recv_msg_size": 8 << 20}, 64 << 20),
        ({"max_call_recv_msg_size": 16 << 20}, 128 << 20),
        ({"tmpfs_size": 4096, "max_call_recv_msg_size": 16 << 20}, 4096),
    ],
)
def test_a_volume_s_size(change: dict[str, Any], size_bytes: int) -> None:
    assert settings.Settings(**change).volume_bytes == size_bytes


@pytest.mark.parametrize(
    ("additional", "directories"),
    [
        ("/etc/providers", ("/etc/providers", "/run/providers")),
        ("/b,/a", ("/b", "/a", "/run/providers")),
        (" /b , /a ,", ("/b", "/a", "/run/providers")),
        pytest.param("", ("/run/providers",), id="not the working directory"),
        (",,", ("/run/providers",)),
        pytest.param("/run/providers,/a", ("/run/providers", "/a"), id="each once"),
    ],
)
def test_provider_directories_in_the_order_of_search(
    additional: str, directories: tuple[str, ...]
) -> None:
    chosen = settings.Settings(
        additional_provider_volume_paths=additional, provider_volume="/run/providers"
    )

    assert chosen.provider_directories == directories


@pytest.mark.parametrize(
    ("text", "namespaces"),
    [("", None), (",", None), ("team", ("team",)), (" a , b,", ("a", "b"))],
)
def test_the_namespaces_of_secrets_are_all_or_some(
    text: str, namespaces: tuple[str, ...] | None
) -> None:
    assert settings.Settings(sync_namespaces=text).allowed_namespaces == namespaces


def test_the_providers_that_must_answer() -> None:
    assert settings.Settings(required_providers=" kms ,vault").providers_required == (
        "kms",
        "vault",
    )
    assert settings.Settings().providers_required == ()


def test_no_interval_without_rotation() -> None:
    assert settings.Settings(rotation_poll_interval_s=7.0).interval_s is None
    on = settings.Settings(rotation_poll_interval_s=7.0, enable_secret_rotation=True)
    assert on.interval_s == 7.0


def test_klog_s_flags_do_not_hide_ours() -> None:
    ours = {settings.flag_name(field) for field in dataclasses.fields(settings.Settings)}

    assert not ours & settings.KLOG_FLAGS.keys()
