"""All metrics of the process, in one registry. Labels come from closed sets, never from objects.

Times are seconds, as Prometheus has it. docs/provider.md lists them for operators.
"""

import prometheus_client

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PREFIX = "kms_provider"


class Metrics:
    """Every metric, on a registry of its own so that tests can have many."""

    def __init__(self, registry: prometheus_client.CollectorRegistry | None = None) -> None:
        self.registry = registry or prometheus_client.CollectorRegistry()
        self.mounts = self._counter("mounts", "Mount calls by gRPC code", "code")
        self.failures = self._counter("mount_failures", "failed Mount calls by reason", "reason")
        self.mount_seconds = self._histogram("mount_seconds", "duration of Mount calls")
        self.requests = self._counter(
            "requests",
            "requests to the KMS by route and HTTP status or kind of fault",
            "route",
            "code",
        )
        self.request_seconds = self._histogram(
            "request_seconds", "duration of requests to the KMS by route", "route"
        )
        self.reads = self._counter(
            "reads",
            "what a volume needed from a folder or of a key: hit, joined, unchanged (304) or read",
            "source",
        )
        self.logins = self._counter("logins", "logins by result", "result")
        self.login_reuses = self._counter("login_reuses", "Mounts that found a login in memory")
        self.offline_answers = self._counter(
            "offline_answers", "Mounts answered from memory because the KMS was out of reach"
        )
        self.closed_answers = self._counter(
            "closed_answers", "Mounts answered with empty files outside their read window"
        )
        self.reloads = self._counter(
            "reloads", "reloads of configuration and CA files by result", "what", "result"
        )
        self.token_age = self._gauge("token_age_seconds", "age of the oldest login in use")
        self.tokens = self._gauge("tokens", "logins in memory")
        self.cached_bytes = self._gauge(
            "cached_bytes", "about the size of what was read, in memory"
        )
        self.ready = self._gauge("ready", "1 while the socket is served")
        prometheus_client.ProcessCollector(registry=self.registry)

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return prometheus_client.generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(f"{_PREFIX}_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> prometheus_client.Histogram:
        return prometheus_client.Histogram(
            f"{_PREFIX}_{name}", text, labels, registry=self.registry, buckets=_SECONDS
        )
