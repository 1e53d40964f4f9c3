"""Every flag of the driver: name, type, default, unit and meaning, in one table.

The command line, its help and the table in the documentation are made from these fields. Upstream's
flags keep its names, defaults and Go syntax; what is ours is marked.
"""

import dataclasses
from typing import Any

from secrets_store import errors

VERSION = "v1.7.0"
DEFAULT_DRIVER_NAME = "secrets-store.csi.k8s.io"
MIN_VOLUME_BYTES = 64 << 20
VOLUME_BYTES_PER_MESSAGE_BYTE = 8


def _flag(
    default: Any, help_text: str, *, name: str = "", kind: str = "", ours: bool = False
) -> Any:
    """Declare one flag; ``kind`` is set where the Python type does not tell the Go type."""
    return dataclasses.field(
        default=default, metadata={"help": help_text, "name": name, "kind": kind, "ours": ours}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What the driver was told on its command line. Source: driver-behaviour §1."""

    endpoint: str = _flag("unix://tmp/csi.sock", "CSI endpoint, unix:// or tcp://")
    driver_name: str = _flag(DEFAULT_DRIVER_NAME, "name of the CSI driver", name="drivername")
    node_id: str = _flag("", "name of the node", name="nodeid")
    log_format_json: bool = _flag(False, "write logs as JSON")
    provider_volume: str = _flag(
        "/var/run/secrets-store-csi-providers", "directory of provider sockets, searched last"
    )
    additional_provider_volume_paths: str = _flag(
        "/etc/kubernetes/secrets-store-csi-providers",
        "comma list of further directories of provider sockets, searched first",
    )
    metrics_addr: str = _flag(":8095", "address the metrics are served on")
    enable_secret_rotation: bool = _flag(False, "refresh mounted contents")
    rotation_poll_interval_s: float = _flag(
        120.0, "time between two checks of a volume", name="rotation-poll-interval", kind="duration"
    )
    enable_pprof: bool = _flag(False, "serve the stacks of tasks and threads on loopback")
    pprof_port: int = _flag(6065, "port of the former")
    max_call_recv_msg_size: int = _flag(4194304, "largest answer of a provider, in bytes")
    provider_health_check: bool = _flag(False, "call Version of the providers in use periodically")
    provider_health_check_interval_s: float = _flag(
        120.0, "time between two such calls", name="provider-health-check-interval", kind="duration"
    )
    version: bool = _flag(False, "print the version as JSON and exit")
    metrics_backend: str = _flag("Prometheus", "the only backend there is")
    kubeconfig: str = _flag("", "kubeconfig file; default is the service account of the pod")
    verbosity: int = _flag(0, "log verbosity; 5 shows requests", name="v")

    allow_attribute_override: bool = _flag(
        False,
        "let volume attributes of a pod override parameters of the class, as upstream does",
        ours=True,
    )
    tmpfs_size: int = _flag(
        0,
        "most bytes a volume can hold; 0 is 64 MiB or 8 times max-call-recv-msg-size, the larger",
        ours=True,
    )
    tmpfs_inodes: int = _flag(32768, "most files, directories and links of a volume", ours=True)
    require_sync: bool = _flag(
        False, "fail a first publish whose Secrets cannot be written", ours=True
    )
    sync_namespaces: str = _flag(
        "", "comma list of namespaces that Secrets are written in; empty is all", ours=True
    )
    remove_startup_taint: bool = _flag(
        False,
        "remove the node's taint secrets-store.csi.k8s.io/agent-not-ready when volumes can be "
        "mounted",
        ours=True,
    )
    required_providers: str = _flag(
        "", "comma list of providers that must answer before the taint is removed", ours=True
    )
    provider_concurrency: int = _flag(
        8, "refreshes that one provider is asked for at the same time", ours=True
    )

    def check(self) -> None:
        """Raise errors.ConfigurationError if a value cannot be used."""
        if self.metrics_backend.lower() != "prometheus":
            raise errors.ConfigurationError(f"unsupported metrics backend {self.metrics_backend}")
        if self.rotation_poll_interval_s <= 0:
            raise errors.ConfigurationError("rotation-poll-interval must be positive")
        if self.provider_health_check_interval_s <= 0:
            raise errors.ConfigurationError("provider-health-check-interval must be positive")
        if self.max_call_recv_msg_size <= 0:
            raise errors.ConfigurationError("max-call-recv-msg-size must be positive")
        if self.tmpfs_size < 0 or self.tmpfs_inodes <= 0 or self.provider_concurrency <= 0:
            raise errors.ConfigurationError(
                "tmpfs-size must not be negative, tmpfs-inodes and provider-concurrency positive"
            )

    @property
    def volume_bytes(self) -> int:
        """The most that one volume can hold."""
        return self.tmpfs_size or max(
            MIN_VOLUME_BYTES, VOLUME_BYTES_PER_MESSAGE_BYTE * self.max_call_recv_msg_size
        )

    @property
    def provider_directories(self) -> tuple[str, ...]:
        """Directories in the order of search; empty items are left out.

        Upstream takes an empty item as the working directory.
        """
        additional = _items(self.additional_provider_volume_paths)
        return tuple(dict.fromkeys([*additional, self.provider_volume]))

    @property
    def allowed_namespaces(self) -> tuple[str, ...] | None:
        """Namespaces that Secrets are written in; None: all."""
        return _items(self.sync_namespaces) or None

    @property
    def providers_required(self) -> tuple[str, ...]:
        """Providers that must answer before the startup taint is removed."""
        return _items(self.required_providers)

    @property
    def interval_s(self) -> float | None:
        """The refresh interval of classes that set none; None if rotation is off."""
        return self.rotation_poll_interval_s if self.enable_secret_rotation else None


def _items(text: str) -> tuple[str, ...]:
    return tuple(x for x in (item.strip() for item in text.split(",")) if x)


def flag_name(field: "dataclasses.Field[Any]") -> str:
    """Return a field's name on the command line, without dashes."""
    return str(field.metadata["name"]) or field.name.replace("_", "-")


# klog's own flags: accepted because manifests carry them; only ``v`` has a meaning here.
KLOG_FLAGS: dict[str, str] = {
    "add_dir_header": "bool",
    "alsologtostderr": "bool",
    "log_backtrace_at": "string",
    "log_dir": "string",
    "log_file": "string",
    "log_file_max_size": "int",
    "logtostderr": "bool",
    "one_output": "bool",
    "skip_headers": "bool",
    "skip_log_headers": "bool",
    "stderrthreshold": "string",
    "vmodule": "string",
}
