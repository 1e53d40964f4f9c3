"""The page on compatibility against the code: flags, series, reasons, names and tests."""

import ast
import dataclasses
import pathlib
import re

import pytest
from prometheus_client import core

from secrets_store import errors, metrics, settings, tasks
from secrets_store.lifecycle import taint
from secrets_store.model import pod_status, provider_class, record, secret, secret_objects
from secrets_store.volumes import freshness, table

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
WEAKNESSES = {"A": 20, "B": 10, "C": 18, "D": 9, "E": 9, "F": 14}


def quoted(section: str) -> set[str]:
    """Return what stands in backquotes in the tables of a section."""
    _, _, rest = PAGE.partition(f"\n## {section}\n")
    assert rest, section
    body = rest.partition("\n## ")[0]
    rows = [line for line in body.splitlines() if line.startswith("|")]
    return set(re.findall(r"`([^`]+)`", "\n".join(rows)))


def literals(pattern: str) -> set[str]:
    """Return the string literals in the driver's code that are wholly of a pattern."""
    return {
        node.value
        for path in (ROOT / "secrets_store").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(pattern, node.value)
    }


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests."""
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }


def test_every_flag_is_told() -> None:
    flags = {settings.flag_name(field) for field in dataclasses.fields(settings.Settings)}
    assert flags | set(settings.KLOG_FLAGS) <= quoted("Flags")


def test_no_flag_is_told_that_there_is_not() -> None:
    flags = {settings.flag_name(field) for field in dataclasses.fields(settings.Settings)}
    told = {name for name in quoted("Flags") if re.fullmatch(r"[a-z_-]+", name)}
    # Values and words of Kubernetes that rows mention.
    assert told - flags - set(settings.KLOG_FLAGS) <= {"true"}


def test_every_series_is_told() -> None:
    class Nowhere:
        def save(self, known: record.Record) -> None:
            raise OSError

        def drop(self, target_path: str) -> None:
            raise OSError

    counted = metrics.Metrics()
    empty = table.Table(Nowhere(), tasks.Threads("none", 1))
    counted.registry.register(freshness.Freshness(empty, tasks.SystemClock()))
    names = {_exposed(family) for family in counted.registry.collect()}
    told = quoted("Metrics")
    assert {name for name in names if not name.startswith("process_")} <= told
    assert "process_*" in told
    ours = {name for name in told if name.startswith("secrets_store_")}
    assert ours <= names


def _exposed(family: core.Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_every_error_type_is_told() -> None:
    def walk(kind: type[errors.DriverError]) -> set[str]:
        return {kind.error_type}.union(*(walk(below) for below in kind.__subclasses__()))

    unused = {errors.StatusFailed.error_type}
    assert walk(errors.DriverError) - unused <= quoted("Metrics")


def test_every_reason_of_an_event_is_told() -> None:
    told = quoted("Events")
    used = literals(
        r"(MountRotation|SecretRotation)(Complete|Failed)|FailedToCreateSecret|SecretConflict"
        r"|SecretsNotAvailableYet|VolumeAttributesIgnored|DuplicateFiles|[A-Z][a-z]+Missing"
    )
    assert len(used) >= 10
    assert used <= told
    reasons = {name for name in told if re.fullmatch(r"([A-Z][a-z]+){2,}", name)}
    assert reasons - used == {"FailedMount"}


def test_every_label_and_annotation_is_told() -> None:
    used = {
        value
        for module in (pod_status, provider_class, secret, secret_objects, taint)
        for value in vars(module).values()
        if isinstance(value, str)
        and re.fullmatch(r"(internal\.)?secrets-store\.csi\.k8s\.io/[a-z-]+", value)
    }
    assert len(used) >= 10
    assert used <= quoted("Labels, annotations, names")


def test_every_weakness_has_its_row() -> None:
    rows = re.findall(r"^\| ([A-F]\d+) \| .+ \| (.+) \|$", PAGE, re.MULTILINE)
    wanted = [f"{letter}{n}" for letter, last in WEAKNESSES.items() for n in range(1, last + 1)]
    assert sorted(number for number, _ in rows) == sorted(wanted)
    without = [number for number, shown in rows if "`test_" not in shown]
    assert without == ["B3"]


def test_every_test_that_is_named_exists(tests: set[str]) -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 100
    assert sorted(named - tests) == []
