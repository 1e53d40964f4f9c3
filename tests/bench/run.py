"""The driver's benchmark: ``make bench``, a table on stdout and JSON in ``bench.json``.

``PEER='command line'`` measures another driver with the same flags beside ours, scenario by
scenario in turn. ``ONLY='storm paced'`` runs some scenarios.
"""

import asyncio
import json
import os
import pathlib
import shlex
import sys

from devkit import stage
from tests.bench import bed, cluster_scenarios, scenarios

# Design §9: what the figures are held against.
BUDGETS: dict[str, float] = {
    "exec to ready ms": 450,
    "exec to first publish ms": 550,
    "publish 1 files p50 ms": 5,
    "publish 1 files p99 ms": 10,
    "publish 50 files p50 ms": 10,
    "unpublish 1 files p50 ms": 1.5,
    "cpu per publish and unpublish, 1 files ms": 5,
    "publish back to back p50 ms": 6,
    "storm of 110, wall s": 0.8,
    "storm, probe max ms": 100,
    "rss at start MiB": 50,
    "rss with 110 volumes MiB": 56,
    "rss after three storms MiB": 58,
    "110 republishes at once, wall s": 0.3,
    "republish, not due p50 ms": 1,
    "requests: first publish": 3,
    "requests: with one Secret": 4,
    "requests: republish, first publish": 0,
    "requests: republish, with one Secret": 0,
    "50 Secrets at once, all with owner s": 0.6,
    "refresh of 110 due volumes, unchanged s": 1,
    "rss at start, big cluster MiB": 50,
    "rss with 110 volumes, big cluster MiB": 56,
    "idle cpu per minute s": 0.05,
    "cpu per minute at republish pace s": 0.15,
}


async def main() -> None:
    """Run the scenarios and print their figures."""
    commands = {"ours": list(stage.OURS)}
    if peer := os.environ.get("PEER"):
        commands["peer"] = shlex.split(peer)
    every = scenarios.ALL | cluster_scenarios.ALL
    wanted = os.environ.get("ONLY", "").split() or list(every)
    figures: dict[str, scenarios.Figures] = {name: {} for name in commands}
    with bed.bed() as laid:
        for scenario, run in every.items():
            if scenario not in wanted and not set(scenario.split()) & set(wanted):
                continue
            for name, command in commands.items():
                print(f"{scenario}: {name} …", file=sys.stderr, flush=True)
                try:
                    figures[name] |= await run(laid, command)
                except Exception as error:
                    if name == "ours":
                        raise
                    print(f"{scenario}: {name} failed: {error!r}", file=sys.stderr)
    print(table(figures))
    pathlib.Path("bench.json").write_text(json.dumps(figures, indent=2) + "\n")


def table(figures: dict[str, scenarios.Figures]) -> str:
    """Lay the figures of all drivers side by side, with the budget and the ratio to the peer."""
    peer = figures.get("peer", {})
    lines = [f"{'figure':44}{'ours':>10}{'budget':>10}" + ("      peer  ours/peer" if peer else "")]
    for name, value in figures["ours"].items():
        budget = BUDGETS.get(name)
        mark = "" if budget is None or value <= budget else " over"
        line = f"{name:44}{value:>10g}{'' if budget is None else f'{budget:g}':>10}"
        if peer:
            other = peer.get(name)
            line += f"{'' if other is None else f'{other:g}':>10}"
            line += f"{value / other:>11.2f}" if other else ""
        lines.append(line + mark)
    return "\n".join(lines)


if __name__ == "__main__":
    asyncio.run(main())
