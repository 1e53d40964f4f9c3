"""The steps of the demo, each with its checks."""

import asyncio
import base64
import pathlib
import stat
import time
from collections.abc import Mapping
from typing import Any

from devkit import stage
from devkit.demo import checks, reader, scene, screen, volumes, world

PODS = ("shop-0", "shop-1")
TYPO_POD = "shop-typo"
_OPTIONS = ("nosuid", "nodev", "noexec")
_SHOWN_CHARACTERS = 34


class Story:
    """Tells the demo on a scene that has been started.

    Args:
        on: what runs.
        to: where it is told.
        files: what the KMS holds at the beginning.
    """

    def __init__(self, on: scene.Scene, to: screen.Screen, files: world.Files) -> None:
        self._on, self._screen, self._files = on, to, files
        self._pods: dict[str, dict[str, Any]] = {}

    async def show(self) -> None:
        """Tell everything up to the deletion. Raises: checks.Failed."""
        await self._mount()
        self._look()
        await self._copy()
        await self._rotate()
        await self._status()
        await self._mistype()

    async def delete(self) -> None:
        """Delete the pods and look whether anything is left. Raises: checks.Failed."""
        on = self._on
        with self._screen.step("The pods are deleted") as page:
            for pod in await on.api.pods():
                await on.api.delete(pod)

            async def pods() -> list[str]:
                return [each["metadata"]["name"] for each in await on.api.pods()]

            async def statuses() -> list[str]:
                return [each["metadata"]["name"] for each in await on.api.statuses()]

            await checks.until("pods", pods, "none")
            await checks.until("status objects", statuses, "none", part=scene.API_SERVER)
            await checks.until("the Secret", self._secret, "none", part=scene.API_SERVER)
            checks.equal("mounts", on.node.mounts(), [])
            left = [path.name for path in (on.node.kubelet / "pods").iterdir()]
            checks.equal("pod directories", left, [])
            checks.equal("the driver's records", on.records(), [])
            page.good("no mount, no directory, no record of a volume is left")
            page.good("the status objects and the Secret went with their owners")

    async def _mount(self) -> None:
        with self._screen.step("A SecretProviderClass, and two pods that name it") as page:
            page.rows(
                [
                    ("class", f"{world.CLASS}: provider kms, identity {world.IDENTITY}"),
                    ("secrets", f"{world.PROJECT}/{world.ENVIRONMENT}{world.FOLDER} of the KMS"),
                    ("pods", f"{', '.join(PODS)}, with service account {world.ACCOUNT}"),
                ]
            )
            await self._on.api.create(world.provider_class())
            started = time.monotonic()
            for name in PODS:
                self._pods[name] = await self._on.api.create(world.pod(name, stage.NODE))
            for name in PODS:
                await self._until_running(name)
            page.good(f"both pods run after {time.monotonic() - started:.2f} s")
            page.quiet("The provider logged in to the KMS with the tokens of the pods themselves.")

    def _look(self) -> None:
        with self._screen.step("What the pods see") as page:
            for name in PODS:
                directory = self._volume(name)
                found = volumes.files(directory)
                page.item(f"{name}: {self._file_system(directory)}", [_row(each) for each in found])
                checks.equal(
                    f"files of {name}", {each.name: each.contents for each in found}, self._files
                )
                modes = {entry.file: entry.mode for entry in world.ENTRIES}
                checks.equal(f"modes of {name}", {each.name: each.mode for each in found}, modes)
            page.good("names, modes and contents are those of the class and the KMS")

    def _file_system(self, directory: pathlib.Path) -> str:
        """Check what the volume lies on, and describe it."""
        found = volumes.mounted_at(directory)
        if not self._on.mounts:
            checks.equal(f"mount at {directory}", found, None)
            return "a plain folder"
        if found is None or found.fs_type != "tmpfs":
            raise checks.Failed(f"mount at {directory}", "a tmpfs", found)
        missing = [each for each in _OPTIONS if each not in found.options]
        checks.equal(f"missing options of {directory}", missing, [])
        limit = next((each for each in found.super_options if each.startswith("size=")), None)
        if limit is None:
            raise checks.Failed(f"options of {directory}", "a size", found.super_options)
        # Without noswap (kernels before 6.3, user namespaces) it is not there and not promised.
        more = [each for each in found.super_options if each == "noswap"]
        return f"a tmpfs ({', '.join((limit, *_OPTIONS, *more))})"

    async def _copy(self) -> None:
        with self._screen.step("The same as a Kubernetes Secret, where a pod needs one") as page:
            found = await checks.until("Secret", self._secret, "one", good=bool)
            assert found is not None
            held = _decoded(found)
            page.item(
                f"Secret {world.SECRET}, type {found['type']}",
                [(key, value.decode()) for key, value in held.items()],
            )
            checks.equal("contents of the Secret", held, self._password())
            page.good("it holds what the file holds")

    async def _rotate(self) -> None:
        old, new = self._files, world.make_up("second")
        directories = {name: self._volume(name) for name in PODS}
        versions = await checks.until(
            "versions in the status objects",
            self._versions,
            "one for each object of each pod",
            good=lambda found: len(found) == len(PODS) * len(world.ENTRIES),
        )
        self._files = new
        with self._screen.step("The secrets change in the KMS") as page:
            with reader.Reader(directories, old, new) as reading:
                saved_mono = time.monotonic()
                world.save_seed(self._on.seed, new)
                copied_mono, _ = await asyncio.gather(
                    self._until_copied(), _until_read(reading, directories)
                )
            tally = reading.tally
            was, now = old[world.PASSWORD].decode(), new[world.PASSWORD].decode()
            page.rows(
                [
                    (name, world.PASSWORD, f"{was} → {now}", f"after {at - saved_mono:.2f} s")
                    for name, at in (
                        *sorted(tally.arrived_mono.items()),
                        ("Secret", copied_mono),
                    )
                ]
            )
            counts = (tally.missing, tally.partial, tally.mixed)
            checks.equal("missing, partial and mixed reads", counts, (0, 0, 0))
            page.good(f"{tally.reads:,} reads of a file meanwhile: 0 missing, 0 partial")
            page.good(f"{tally.sets:,} reads of all files at once: 0 with files of both sets")
            await checks.until(
                "versions in the status objects",
                self._versions,
                f"others than {versions}",
                good=lambda found: all(found.get(key, old) != old for key, old in versions.items()),
            )
            page.quiet(f"In this demo the driver asks the provider every {scene.REFRESH_EVERY}.")

    async def _until_copied(self) -> float:
        """Wait until the Secret holds the new password; return the monotonic time."""
        await checks.until(
            "contents of the Secret",
            self._copied,
            "the new password",
            good=lambda found: found == self._password(),
        )
        return time.monotonic()

    async def _status(self) -> None:
        with self._screen.step("What the cluster is told") as page:
            for name in PODS:
                found = await self._status_of(name)
                checks.equal(f"status of {name}", found["status"]["mounted"], True)
                owner = found["metadata"]["ownerReferences"][0]["uid"]
                checks.equal(f"owner of the status of {name}", owner, self._uid(name))
                target = found["status"]["targetPath"]
                checks.equal(f"target in the status of {name}", target, str(self._volume(name)))
                page.item(
                    f"SecretProviderClassPodStatus {found['metadata']['name']}",
                    [(each["id"], _end(each["version"])) for each in found["status"]["objects"]],
                )
            checks.equal("number of the driver's records", len(self._on.records()), len(PODS))
            versions = await self._versions()
            names = {entry.file for entry in world.ENTRIES}
            checks.equal("objects", {object_id for _, object_id in versions}, names)
            page.good("each object with the version that the pod sees now, and no contents")

    async def _mistype(self) -> None:
        on = self._on
        with self._screen.step(f'A pod with a typing error: class "{world.MISTYPED}"') as page:
            pod = await on.api.create(world.pod(TYPO_POD, stage.NODE, world.MISTYPED))
            self._pods[TYPO_POD] = pod

            async def told() -> list[str]:
                return [
                    event["message"]
                    for event in await on.api.events(world.NAMESPACE)
                    if event["involvedObject"].get("uid") == pod["metadata"]["uid"]
                    and event["reason"] == "FailedMount"
                ]

            messages = await checks.until("FailedMount events", told, "one", good=bool)
            page.say(f"What `kubectl describe pod {TYPO_POD}` says:")
            page.quote(f"Warning  FailedMount  {messages[0]}")
            if f"{world.NAMESPACE}/{world.MISTYPED}" not in messages[0]:
                raise checks.Failed("the message", "the class's name in it", messages[0])
            target = self._volume(TYPO_POD)
            checks.equal("the target of a failed publish exists", target.exists(), False)
            page.good("the message names the class; the failed mount left nothing behind")
            started = time.monotonic()
            await on.api.create(world.provider_class(world.MISTYPED, copied=False))
            await self._until_running(TYPO_POD)
            waited_s = time.monotonic() - started
            page.good(f"once there is such a class the pod runs by itself, after {waited_s:.2f} s")

    async def _until_running(self, name: str) -> None:
        async def phase() -> str:
            found = await self._on.api.get(self._pods[name])
            return str(found["status"]["phase"]) if found else "gone"

        await checks.until(f"pod {name}", phase, "Running", good=lambda found: found == "Running")

    async def _status_of(self, name: str) -> dict[str, Any]:
        for found in await self._on.api.statuses():
            if found["status"]["podName"] == name:
                return found
        raise checks.Failed("SecretProviderClassPodStatus", f"one of pod {name}", "none")

    async def _versions(self) -> dict[tuple[str, str], str]:
        """Return the versions in the status objects by pod and object."""
        return {
            (found["status"]["podName"], each["id"]): each["version"]
            for found in await self._on.api.statuses()
            for each in found["status"].get("objects", ())
        }

    async def _secret(self) -> dict[str, Any] | None:
        return await self._on.api.get(world.secret())

    async def _copied(self) -> dict[str, bytes]:
        return _decoded(await self._secret())

    def _password(self) -> dict[str, bytes]:
        """Return what the Secret should hold."""
        return {world.SECRET_KEY: self._files[world.PASSWORD]}

    def _uid(self, name: str) -> str:
        return str(self._pods[name]["metadata"]["uid"])

    def _volume(self, name: str) -> pathlib.Path:
        return pathlib.Path(self._on.node.target(self._uid(name), world.VOLUME))


async def _until_read(reading: reader.Reader, directories: Mapping[str, pathlib.Path]) -> None:
    """Wait until all is new, and on until the old files are gone below their readers."""

    async def arrived() -> list[str]:
        return sorted(reading.tally.arrived_mono)

    async def sets() -> int:
        return sum(len(list(each.glob("..[0-9]*"))) for each in directories.values())

    names = sorted(directories)
    await checks.until(
        "volumes with the new contents", arrived, str(names), good=lambda found: found == names
    )
    await checks.until(
        "sets of files", sets, "one a volume", good=lambda found: found == len(directories)
    )


def _row(file: volumes.File) -> tuple[str, str, str, str]:
    shown = file.contents.decode(errors="replace").replace("\n", " ")
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}…"
    return file.name, stat.filemode(file.mode | stat.S_IFREG), volumes.size(file.contents), shown


def _decoded(secret: Mapping[str, Any] | None) -> dict[str, bytes]:
    data = secret.get("data", {}) if secret else {}
    return {key: base64.b64decode(value) for key, value in data.items()}


def _end(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"…{text[-_SHOWN_CHARACTERS:]}"
