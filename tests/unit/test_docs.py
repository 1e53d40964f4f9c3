"""What documents say that code knows better."""

import pathlib
import re
import tomllib

import pytest

import provider_kms.settings
from secrets_store import metrics, settings, tasks
from secrets_store.host import records
from secrets_store.volumes import freshness, table

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def series() -> set[str]:
    counted = metrics.Metrics()
    volumes = table.Table(records.Records("/nowhere"), tasks.Threads("none", 1))
    counted.registry.register(freshness.Freshness(volumes, tasks.SystemClock()))
    names = set()
    for family in counted.registry.collect():
        names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return {name for name in names if not name.startswith("process_")}


def test_there_is_one_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert f"v{version}" == settings.VERSION
    assert version == provider_kms.settings.VERSION


def test_operations_lists_exactly_the_series_of_the_driver() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    listed = text.split("## Metrics")[1].split("## Events")[0]
    named = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(
        line.split("|")[1] for line in listed.splitlines() if line.startswith("| `")
    )))  # fmt: skip
    assert named == series()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda x: str(x.relative_to(ROOT)))
def test_links_lead_somewhere(document: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda x: str(x.relative_to(ROOT)))
def test_folders_and_make_targets_that_are_named_exist(document: pathlib.Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z]+)", text):
        assert target in targets, target
    for path in re.findall(
        r"`((?:deploy|docs|secrets_store|csi_spec|tests|devkit)/[\w./-]*)`", text
    ):
        assert (ROOT / path).exists(), path
