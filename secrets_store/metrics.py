"""All metrics of the driver: upstream's series as a scraper sees them, and ours.

Upstream's carry the three scope labels that its exporter adds, so that dashboards and alerts go on
working. Labels come from closed sets, never from names of pods.
Source: driver-behaviour §10.
"""

import platform

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SCOPE = {
    "otel_scope_name": "sigs.k8s.io/secrets-store-csi-driver",
    "otel_scope_schema_url": "",
    "otel_scope_version": "",
}
OS_TYPE = platform.system().lower()
# 0.1 · 20^(i/10) as Go computes it on amd64; Python's own arithmetic ends in other digits.
_BUCKETS_S = (
    0.1,
    0.13492828476735633,
    0.18205642030260802,
    0.24564560522315804,
    0.3314454017339986,
    0.4472135954999578,
    0.6034176336545162,
    0.8141810630738084,
    1.0985605433061172,
    1.4822688982138947,
    1.9999999999999991,
)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The series of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        target = Gauge(
            "target_info",
            "Target metadata",
            ("service_name", "telemetry_sdk_language", "telemetry_sdk_name"),
            registry=self.registry,
        )
        target.labels("unknown_service:secrets-store-csi", "python", "prometheus-client").set(1)
        self._publish = self._upstream(
            "node_publish", "Total number of node publish calls", "provider"
        )
        self._publish_error = self._upstream(
            "node_publish_error",
            "Total number of node publish calls with error",
            "provider",
            "error_type",
        )
        self._unpublish = self._upstream("node_unpublish", "Total number of node unpublish calls")
        self._unpublish_error = self._upstream(
            "node_unpublish_error", "Total number of node unpublish calls with error"
        )
        self._rotation = self._upstream(
            "rotation_reconcile", "Total number of rotation reconciles", "provider", "rotated"
        )
        self._rotation_error = self._upstream(
            "rotation_reconcile_error",
            "Total number of rotation reconciles with error",
            "provider",
            "rotated",
            "error_type",
        )
        self._rotation_duration = Histogram(
            "rotation_reconcile_duration_sec",
            "Distribution of how long it took to rotate secrets-store content for pods",
            ("os_type", *_SCOPE),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._api_requests = Counter(
            "rest_client_requests",
            "Number of HTTP requests, partitioned by status code, method, and host",
            ("code", "host", "method"),
            registry=self.registry,
        )
        self._provider_up = Gauge(
            "secrets_store_provider_up",
            "Whether a provider in use answered its last health check",
            ("provider",),
            registry=self.registry,
        )

    def publish_ok(self, provider: str) -> None:
        """Count a publish that was answered with OK."""
        self._publish.labels(OS_TYPE, provider, *_SCOPE.values()).inc()

    def publish_failed(self, provider: str, error_type: str) -> None:
        """Count a publish that was answered with an error."""
        self._publish_error.labels(OS_TYPE, provider, error_type, *_SCOPE.values()).inc()

    def unpublish_ok(self) -> None:
        """Count an unpublish that was answered with OK."""
        self._unpublish.labels(OS_TYPE, *_SCOPE.values()).inc()

    def unpublish_failed(self) -> None:
        """Count an unpublish that was answered with an error."""
        self._unpublish_error.labels(OS_TYPE, *_SCOPE.values()).inc()

    def refresh_ok(self, provider: str, *, changed: bool, duration_s: float) -> None:
        """Count a refresh and tell whether it changed anything."""
        self._rotation.labels(OS_TYPE, provider, str(changed).lower(), *_SCOPE.values()).inc()
        self._rotation_duration.labels(OS_TYPE, *_SCOPE.values()).observe(duration_s)

    def refresh_failed(self, provider: str, error_type: str) -> None:
        """Count a refresh that kept the old contents because something failed."""
        self._rotation_error.labels(OS_TYPE, provider, "false", error_type, *_SCOPE.values()).inc()

    def api_request(self, method: str, host: str, code: str) -> None:
        """Count one attempt at the API server; called from threads."""
        self._api_requests.labels(code, host, method).inc()

    def provider_up(self, provider: str, *, up: bool) -> None:
        """Tell how a provider's health check ended."""
        self._provider_up.labels(provider).set(int(up))

    def _upstream(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ("os_type", *labels, *_SCOPE), registry=self.registry)
