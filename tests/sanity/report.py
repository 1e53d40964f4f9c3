"""What csi-sanity reports, held against what it must have run."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

CONTAINERS = ("Identity Service", "Node Service")
NOT_CLAIMED = (
    "NodeStageVolume not supported",
    "NodeUnstageVolume not supported",
    "NodeExpandVolume not supported",
    "NodeGetVolumeHealth not supported",
    "NodeGetStorageHealth not supported",
    "Service does not have single node multi writer capability",
    "Controller Service not provided",
)
"""The only reasons to skip a case: the driver does not claim what it is about."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case of the suite.

    Attributes:
        state: ``passed``, ``skipped``, ``failed``, ``pending`` or another word of the suite's.
        why: Why it was skipped or failed; empty also if it was not chosen.
    """

    name: str
    state: str
    why: str


def cases(report: str) -> list[Case]:
    """Return the cases about Identity and Node from a report in JSON."""
    found = []
    for suite in json.loads(report):
        for spec in suite["SpecReports"]:
            above = [str(x) for x in spec.get("ContainerHierarchyTexts") or ()]
            if above and above[0] in CONTAINERS:
                found.append(_case(spec, above))
    return found


def _case(spec: dict[str, Any], above: Sequence[str]) -> Case:
    why = str((spec.get("Failure") or {}).get("Message", ""))
    return Case(" › ".join([*above, str(spec["LeafNodeText"])]), str(spec["State"]), why)


def complaints(found: Sequence[Case], *, passed: int, left_out: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with a run; empty if nothing is.

    Args:
        passed: So many cases must have passed, at least.
        left_out: Ends of the names of cases that this run does not ask for.
    """
    wrong = []
    for case in found:
        if case.state == "passed":
            continue
        claimed = not case.why.startswith(NOT_CLAIMED)
        if case.state != "skipped":
            wrong.append(f"{case.name}: {case.state}")
        elif claimed and not (not case.why and case.name.endswith(tuple(left_out))):
            wrong.append(f"{case.name}: skipped: {case.why or 'not chosen'}")
    count = sum(case.state == "passed" for case in found)
    if count < passed:
        wrong.append(f"{count} cases passed, {passed} are expected to")
    return wrong
