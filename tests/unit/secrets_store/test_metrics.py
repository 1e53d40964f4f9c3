import prometheus_client
import pytest
from prometheus_client import Metric, parser

from secrets_store import metrics

SCOPE = {
    "otel_scope_name": "sigs.k8s.io/secrets-store-csi-driver",
    "otel_scope_schema_url": "",
    "otel_scope_version": "",
}
LINUX = {"os_type": "linux"} | SCOPE


def text_of(counted: metrics.Metrics) -> str:
    return prometheus_client.generate_latest(counted.registry).decode()


def scraped(counted: metrics.Metrics) -> dict[str, Metric]:
    return {x.name: x for x in parser.text_string_to_metric_families(text_of(counted))}


def moved() -> metrics.Metrics:
    counted = metrics.Metrics()
    counted.publish_ok("kms")
    counted.publish_ok("")
    counted.publish_failed("kms", "GRPCProviderError")
    counted.unpublish_ok()
    counted.unpublish_failed()
    counted.refresh_ok("kms", changed=True, duration_s=0.15)
    counted.refresh_ok("kms", changed=False, duration_s=7.0)
    counted.refresh_failed("kms", "FileWriteError")
    return counted


@pytest.mark.parametrize(
    ("name", "help_text", "samples"),
    [
        (
            "node_publish",
            "Total number of node publish calls",
            [{"provider": "kms"}, {"provider": ""}],
        ),
        (
            "node_publish_error",
            "Total number of node publish calls with error",
            [{"provider": "kms", "error_type": "GRPCProviderError"}],
        ),
        ("node_unpublish", "Total number of node unpublish calls", [{}]),
        ("node_unpublish_error", "Total number of node unpublish calls with error", [{}]),
        (
            "rotation_reconcile",
            "Total number of rotation reconciles",
            [{"provider": "kms", "rotated": "true"}, {"provider": "kms", "rotated": "false"}],
        ),
        (
            "rotation_reconcile_error",
            "Total number of rotation reconciles with error",
            [{"provider": "kms", "rotated": "false", "error_type": "FileWriteError"}],
        ),
    ],
)
def test_upstream_s_counters(name: str, help_text: str, samples: list[dict[str, str]]) -> None:
    found = scraped(moved())[name]

    assert (found.type, found.documentation) == ("counter", help_text)
    assert [(s.name, s.labels, s.value) for s in found.samples] == [
        (f"{name}_total", LINUX | labels, 1.0) for labels in samples
    ]


def test_upstream_s_histogram() -> None:
    text = text_of(moved())
    found = scraped(moved())["rotation_reconcile_duration_sec"]

    assert (found.type, found.documentation) == (
        "histogram",
        "Distribution of how long it took to rotate secrets-store content for pods",
    )
    buckets = [s for s in found.samples if s.name == "rotation_reconcile_duration_sec_bucket"]
    assert [s.labels["le"] for s in buckets] == [
        "0.1",
        "0.13492828476735633",
        "0.18205642030260802",
        "0.24564560522315804",
        "0.3314454017339986",
        "0.4472135954999578",
        "0.6034176336545162",
        "0.8141810630738084",
        "1.0985605433061172",
        "1.4822688982138947",
        "1.9999999999999991",
        "+Inf",
    ]
    assert [s.value for s in buckets] == [0, 0, *[1] * 9, 2]
    assert all(s.labels == LINUX | {"le": s.labels["le"]} for s in buckets)
    rest = {s.name: s.value for s in found.samples if s not in buckets}
    assert rest == {
        "rotation_reconcile_duration_sec_count": 2.0,
        "rotation_reconcile_duration_sec_sum": 7.15,
    }
    assert "_created" not in text


def test_a_line_reads_as_upstream_s() -> None:
    counted = metrics.Metrics()

    counted.publish_ok("azure")

    assert (
        'node_publish_total{os_type="linux",otel_scope_name="sigs.k8s.io/secrets-store-csi-driver"'
        ',otel_scope_schema_url="",otel_scope_version="",provider="azure"} 1.0\n'
    ) in text_of(counted)


def test_a_series_appears_with_its_first_measurement() -> None:
    driver_series = {
        sample.name
        for family in scraped(metrics.Metrics()).values()
        for sample in family.samples
        if not sample.name.startswith("process_")
    }

    assert driver_series == {"target_info"}


def test_the_target_is_told() -> None:
    found = scraped(metrics.Metrics())["target_info"]

    assert (found.type, found.documentation) == ("gauge", "Target metadata")
    (sample,) = found.samples
    assert sample.value == 1.0
    assert sample.labels["service_name"] == "unknown_service:secrets-store-csi"
    assert sample.labels["telemetry_sdk_language"] == "python"


def test_our_own_series() -> None:
    counted = metrics.Metrics()
    counted.provider_up("kms", up=True)
    counted.provider_up("vault", up=False)
    counted.api_request("GET", "10.0.0.1:443", "200")
    counted.api_request("GET", "10.0.0.1:443", "200")

    found = scraped(counted)

    assert {s.labels["provider"]: s.value for s in found["secrets_store_provider_up"].samples} == {
        "kms": 1.0,
        "vault": 0.0,
    }
    (requests,) = found["rest_client_requests"].samples
    assert (requests.name, requests.value) == ("rest_client_requests_total", 2.0)
    assert requests.labels == {"code": "200", "host": "10.0.0.1:443", "method": "GET"}


def test_two_drivers_in_one_process_count_apart() -> None:
    first, second = metrics.Metrics(), metrics.Metrics()

    first.unpublish_ok()

    assert scraped(first)["node_unpublish"].samples
    assert not scraped(second)["node_unpublish"].samples
