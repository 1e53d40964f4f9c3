"""How fresh the volumes are, as series for whoever alerts on it.

Computed when scraped, from the table, by namespace, class and provider. Read from the scraper's
thread: a snapshot of references is taken first, and records are immutable.
"""

import dataclasses
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from secrets_store import tasks
from secrets_store.volumes import table

_LABELS = ("namespace", "secretproviderclass", "provider")
_Key = tuple[str, str, str]


@dataclasses.dataclass(slots=True)
class _Sum:
    mounted: int = 0
    last_check_s: float = float("inf")
    stale_s: float = 0.0


class Freshness(Collector):
    """A collector over the volumes of this node."""

    def __init__(self, volumes: table.Table, clock: tasks.Clock) -> None:
        self._table, self._clock = volumes, clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Sum up all volumes once and yield the families."""
        sums, awaiting = self._sums()
        mounted = GaugeMetricFamily(
            "secrets_store_mounted_volumes", "Volumes mounted on this node", labels=_LABELS
        )
        last = GaugeMetricFamily(
            "secrets_store_last_success_timestamp_seconds",
            "Unix time of the oldest last successful check of these volumes, 0 if one had none",
            labels=_LABELS,
        )
        stale = GaugeMetricFamily(
            "secrets_store_stale_seconds",
            "Age of the oldest contents whose last check has failed, 0 if none has",
            labels=_LABELS,
        )
        for key, found in sums.items():
            mounted.add_metric(key, found.mounted)
            last.add_metric(key, found.last_check_s)
            stale.add_metric(key, found.stale_s)
        yield from (mounted, last, stale)
        yield GaugeMetricFamily(
            "secrets_store_volumes_awaiting_republish",
            "Volumes whose check waits for tokens or secrets that only kubelet can hand over",
            value=awaiting,
        )

    def _sums(self) -> tuple[dict[_Key, _Sum], int]:
        sums: dict[_Key, _Sum] = {}
        awaiting, now_s = 0, self._clock.wall_s()
        for found in self._table:
            known = found.record
            if known.mock:
                continue
            one = sums.setdefault((known.pod.namespace, known.class_name, known.provider), _Sum())
            one.mounted += 1
            one.last_check_s = min(one.last_check_s, known.last_check_s)
            if found.stale:
                one.stale_s = max(one.stale_s, now_s - known.last_check_s)
            awaiting += found.awaits_handover
        return sums, awaiting
