"""`--keep`: everything stays up to play with, and what happens is told as it happens."""

import asyncio
import contextlib
import os
import pathlib
import time

import yaml

from devkit import stage
from devkit.demo import scene, screen, story, volumes, world

LOOK_EVERY_S = 0.2
_LINKS = "pods"
_EXAMPLE = "pod.yaml"
_MOST_SHOWN = 60


async def until_interrupted(on: scene.Scene, to: screen.Screen, interrupted: asyncio.Event) -> None:
    """Say what there is to play with, then tell what happens until somebody interrupts."""
    links = on.node.root / _LINKS
    links.mkdir()
    _write_example(on.node.root / _EXAMPLE)
    followed = _Followed(on, to, links)
    _introduce(on, to)
    while not interrupted.is_set():
        followed.look()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(interrupted.wait(), LOOK_EVERY_S)


def _introduce(on: scene.Scene, to: screen.Screen) -> None:
    root, logs = on.node.root, on.log(scene.DRIVER).parent
    page = to.page()
    page.rows(
        [
            ("volumes", f"{_as_seen_outside(root / _LINKS)}/POD/"),
            ("secrets", f"{on.seed}, edit and save it"),
            ("cluster", f"{on.kubeconfig}, for kubectl"),
            ("logs", f"{logs}/"),
        ]
    )
    to.title("Everything stays up until Ctrl-C. What there is:")
    to.show(page)
    password = _as_seen_outside(root / _LINKS / story.PODS[0] / world.PASSWORD)
    to.title("Things to try from another terminal:")
    for line in (
        f"watch -n1 cat {password}",
        f"sed -i 's/DB_PASSWORD: .*/DB_PASSWORD: third/' {on.seed}",
        f"export KUBECONFIG={on.kubeconfig}",
        "kubectl get pods,secretproviderclasses,secretproviderclasspodstatuses",
        f"kubectl describe pod {story.TYPO_POD}",
        f"kubectl apply -f {root / _EXAMPLE}",
        f"kubectl delete pod {story.PODS[1]}",
        f"tail -F {logs}/*.log",
    ):
        to.line(f"    {line}")
    to.title("What happens:")


def _write_example(path: pathlib.Path) -> None:
    path.write_text(yaml.safe_dump(world.pod("mine", stage.NODE), sort_keys=False))


def _as_seen_outside(path: pathlib.Path) -> str:
    """Return a path that leads to a volume from another terminal, too.

    The root of a user namespace has mounts of its own, which others see through /proc only.
    """
    fields = pathlib.Path("/proc/self/uid_map").read_text().split()
    if fields == ["0", "0", "4294967295"]:
        return str(path)
    return f"/proc/{os.getpid()}/root{path}"


class _Followed:
    """What was last seen of the pods' volumes.

    Args:
        on: where they are.
        to: where changes are told.
        links: directory that gets a link to each pod's volume, for people to type.
    """

    def __init__(self, on: scene.Scene, to: screen.Screen, links: pathlib.Path) -> None:
        self._on, self._screen, self._links = on, to, links
        self._seen: dict[str, dict[str, bytes]] = {}

    def look(self) -> None:
        """Tell what has changed since the last look."""
        found: dict[str, dict[str, bytes]] = {}
        for pod, mounted in self._on.pods.here:
            for volume in mounted[:1]:
                target = pathlib.Path(self._on.node.target(pod.uid, volume.name))
                found[pod.name] = {each.name: each.contents for each in volumes.files(target)}
                self._link(pod.name, target)
        for name in self._seen.keys() - found.keys():
            (self._links / name).unlink(missing_ok=True)
            self._tell(f"pod {name} is gone, and its volume with it")
        for name, files in found.items():
            self._compare(name, self._seen.get(name), files)
        self._seen = found

    def _compare(self, name: str, was: dict[str, bytes] | None, files: dict[str, bytes]) -> None:
        if not files:
            if was is None:
                self._tell(f"pod {name} waits for its volume; kubectl describe pod {name}")
        elif not was:
            self._tell(f"pod {name} has its files: {', '.join(files)}")
        else:
            for file in sorted(files.keys() | was.keys()):
                if files.get(file) != was.get(file):
                    self._tell(f"pod {name}: {file} is now {_shown(files.get(file))}")

    def _link(self, name: str, target: pathlib.Path) -> None:
        link = self._links / name
        # Relative, for an absolute one would lead out of /proc/PID/root again.
        leads_to = os.path.relpath(target, self._links)
        if link.is_symlink() and os.readlink(link) != leads_to:
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(leads_to)

    def _tell(self, text: str) -> None:
        self._screen.line(f"    {time.strftime('%H:%M:%S')}  {text}")


def _shown(contents: bytes | None) -> str:
    if contents is None:
        return "gone"
    text = contents.decode(errors="replace")
    if len(text) > _MOST_SHOWN or not text.isprintable():
        return f"another {volumes.size(contents)}"
    return text
