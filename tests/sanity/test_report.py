"""Nobody is told that the suite passed when it did not, or did not run."""

import json
import pathlib
from typing import Any

import pytest

from tests.sanity import install, report


def spec(state: str, why: str = "", leaf: str = "should work", top: str = "Node Service") -> Any:
    failure = {"Failure": {"Message": why}} if why else {}
    return {
        "ContainerHierarchyTexts": [top, "NodeX"],
        "LeafNodeText": leaf,
        "State": state,
        **failure,
    }


def told(*specs: Any, passed: int = 0, left_out: tuple[str, ...] = ()) -> list[str]:
    found = report.cases(json.dumps([{"SpecReports": list(specs)}]))
    return report.complaints(found, passed=passed, left_out=left_out)


def test_all_passed() -> None:
    assert told(spec("passed"), spec("passed"), passed=2) == []


def test_too_few_passed() -> None:
    assert told(spec("passed"), passed=2) == ["1 cases passed, 2 are expected to"]
    assert told(passed=1) == ["0 cases passed, 1 are expected to"]


@pytest.mark.parametrize("state", ["failed", "panicked", "timedout", "pending", "aborted"])
def test_any_other_end_is_told(state: str) -> None:
    assert told(spec(state, "boom")) == [f"Node Service › NodeX › should work: {state}"]


@pytest.mark.parametrize("why", report.NOT_CLAIMED)
def test_what_is_not_claimed_may_be_skipped(why: str) -> None:
    assert told(spec("skipped", why)) == []


def test_what_is_claimed_may_not_be_skipped() -> None:
    assert told(spec("skipped", "NodeGetVolume not supported")) == [
        "Node Service › NodeX › should work: skipped: NodeGetVolume not supported"
    ]
    assert told(spec("skipped")) == ["Node Service › NodeX › should work: skipped: not chosen"]


def test_a_case_may_be_left_out_by_name() -> None:
    assert told(spec("skipped"), left_out=("should work",)) == []
    assert told(spec("failed"), left_out=("should work",)) != []
    assert told(spec("skipped", "because"), left_out=("should work",)) != []


def test_other_services_and_nodes_of_the_suite_do_not_count() -> None:
    nameless = {"LeafNodeType": "ReportAfterSuite", "LeafNodeText": "", "State": "passed"}
    others = [spec("skipped", top="Controller Service [Controller Server]"), nameless]
    assert report.cases(json.dumps([{"SpecReports": others}])) == []


def test_without_go_one_sentence_says_so(tmp_path: pathlib.Path) -> None:
    with pytest.raises(install.NotInstalled, match="no `go` on the PATH"):
        install.csi_sanity("v5.6.0", tmp_path, path=str(tmp_path))


@pytest.mark.parametrize("version", ["", "v4.3.0", "v5.6.0/../..", "latest", "v5.6"])
def test_only_a_release_is_installed(version: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(install.NotInstalled, match="SANITY_VERSION"):
        install.csi_sanity(version, tmp_path)


def test_what_is_there_is_not_built_again(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "csi-sanity-v5.6.0" / "csi-sanity"
    program.parent.mkdir()
    program.touch()
    assert install.csi_sanity("v5.6.0", tmp_path, path="") == program
