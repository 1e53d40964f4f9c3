"""Run an image's program once, as a cluster does: read-only root, its user, its capabilities.

It must answer its socket, say its version, and end with 0 after SIGTERM. Takes an unpacked image;
needs root, and runc or crun. Prints how long it took until the first answer.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import grpc
import yaml

from csi_spec import csi_pb2, csi_pb2_grpc, provider_pb2, provider_pb2_grpc

ROOT = pathlib.Path(__file__).parents[2]
READY_S, STOP_S = 30.0, 15.0
STARTS = 3
"""The shortest start counts: the first one reads the disk."""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_ADMIN"]
"""All that the driver needs; Kubernetes gives it more, for docs/security.md's reason."""
TARGET = "/var/lib/kubelet/pods/uid/volumes/kubernetes.io~csi/secrets/mount"


class Failed(Exception):
    """The program did not do what it must."""


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("driver", "provider"))
    parser.add_argument("image", type=pathlib.Path, help="the unpacked image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="im", dir="/tmp") as name:
        work = pathlib.Path(name)
        try:
            run = run_driver if options.which == "driver" else run_provider
            seconds = min(run(options.image, work / str(number)) for number in range(STARTS))
        except Failed as failure:
            print(f"run.py: {options.which}: {failure}", file=sys.stderr)
            return 1
    print(f"{options.which}: answers {seconds:.2f} s after its start, ends cleanly")
    return 0


def manifest(name: str) -> Any:
    """Return the pod of a DaemonSet."""
    for path in (ROOT / "deploy" / "yaml").glob("*.yaml"):
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] == "DaemonSet" and obj["metadata"]["name"] == name:
                return obj["spec"]["template"]["spec"]
    raise LookupError(name)


def run_driver(image: pathlib.Path, work: pathlib.Path) -> float:
    """Run the driver with its manifest's arguments; no API server answers it."""
    work.mkdir()
    (container,) = (
        each
        for each in manifest("csi-secrets-store")["containers"]
        if each["name"] == "secrets-store"
    )
    account = work / "account"
    account.mkdir()
    (account / "token").write_text("none")
    shutil.copy(image / "etc/ssl/certs/ca-certificates.crt", account / "ca.crt")
    places = {mount["mountPath"]: work / mount["name"] for mount in container["volumeMounts"]}
    places[ACCOUNT] = account
    environment = {
        "CSI_ENDPOINT": "unix:///csi/csi.sock",
        "KUBE_NODE_NAME": "node-1",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": "1",
    }
    arguments = [
        argument.replace("$(CSI_ENDPOINT)", environment["CSI_ENDPOINT"])
        .replace("$(KUBE_NODE_NAME)", environment["KUBE_NODE_NAME"])
        .replace(":8095", "127.0.0.1:0")
        for argument in container["args"]
    ]
    bundle = Bundle(image, work, places, environment)
    bundle.says_version(["/secrets-store-csi", "-version"], CAPABILITIES)
    socket = places["/csi"] / "csi.sock"
    with (
        bundle.running(["/secrets-store-csi", *arguments], 0, CAPABILITIES) as started,
        grpc.insecure_channel(f"unix:{socket}") as channel,
    ):
        stub = csi_pb2_grpc.IdentityStub(channel)
        wait_for(lambda: stub.Probe(csi_pb2.ProbeRequest(), timeout=1))
        seconds = time.monotonic() - started
        mount_and_unmount(csi_pb2_grpc.NodeStub(channel))
    if socket.exists():
        raise Failed("its socket is left")
    return seconds


def mount_and_unmount(node: csi_pb2_grpc.NodeStub) -> None:
    """Have a volume made that needs neither API server nor provider, and taken away.

    Raises: Failed.
    """
    capability = csi_pb2.VolumeCapability(
        mount=csi_pb2.VolumeCapability.MountVolume(),
        access_mode=csi_pb2.VolumeCapability.AccessMode(
            mode=csi_pb2.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
        ),
    )
    try:
        node.NodePublishVolume(
            csi_pb2.NodePublishVolumeRequest(
                volume_id="v", target_path=TARGET, readonly=True, volume_capability=capability,
                volume_context={"providerName": "mock_provider"},
            ),
            timeout=5,
        )  # fmt: skip
        stats = node.NodeGetVolumeStats(
            csi_pb2.NodeGetVolumeStatsRequest(volume_id="v", volume_path=TARGET), timeout=5
        )
        if not stats.usage:
            raise Failed("it does not know the volume that it made")
        node.NodeUnpublishVolume(
            csi_pb2.NodeUnpublishVolumeRequest(volume_id="v", target_path=TARGET), timeout=5
        )
    except grpc.RpcError as error:
        raise Failed(f"a volume: {error}") from error


def run_provider(image: pathlib.Path, work: pathlib.Path) -> float:
    """Run the provider's init container, then the provider, which is not root."""
    work.mkdir()
    pod = manifest("kms-csi-provider")
    (init,), (container,) = pod["initContainers"], pod["containers"]
    directory = work / "providers"
    bundle = Bundle(image, work, {"/provider": directory}, {})
    with bundle.running([*init["command"], *init["args"]], 0, ["CAP_CHOWN"], ends=True):
        pass
    arguments = [argument.replace("=8080", "=127.0.0.1:0") for argument in container["args"]]
    bundle.says_version(["/kms-csi-provider", "-version"], [])
    user = container["securityContext"]["runAsUser"]
    with (
        bundle.running(["/kms-csi-provider", *arguments], user, []) as started,
        grpc.insecure_channel(f"unix:{directory}/kms.sock") as channel,
    ):
        stub = provider_pb2_grpc.CSIDriverProviderStub(channel)
        request = provider_pb2.VersionRequest(version="v1alpha1")
        wait_for(lambda: stub.Version(request, timeout=1))
        return time.monotonic() - started


def wait_for(call: Any) -> None:
    """Try a call until it is answered. Raises: Failed: not in time."""
    ends_mono = time.monotonic() + READY_S
    while True:
        try:
            call()
            return
        except grpc.RpcError as error:
            if time.monotonic() > ends_mono:
                raise Failed(f"its socket does not answer: {error}") from error
        time.sleep(0.01)


class Bundle:
    """An unpacked image as an OCI bundle.

    Args:
        image: becomes the root, read-only.
        work: where the bundle is made.
        places: path inside → folder outside, made if absent.
        environment: beside the image's own.
    """

    def __init__(
        self,
        image: pathlib.Path,
        work: pathlib.Path,
        places: dict[str, pathlib.Path],
        environment: dict[str, str],
    ) -> None:
        runtime = shutil.which("runc") or shutil.which("crun")
        if runtime is None:
            raise Failed("needs runc or crun")
        self._runtime, self._image, self._work = runtime, image, work
        self._places, self._environment = places, environment
        for inside, outside in places.items():
            outside.mkdir(exist_ok=True)
            (image / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
        self._number = 0

    def says_version(self, arguments: list[str], capabilities: list[str]) -> None:
        """Let it print its version. Raises: Failed."""
        with self.running(arguments, 65532, capabilities, ends=True):
            pass
        if not self.printed().strip():
            raise Failed("it does not print its version")

    def printed(self) -> str:
        """Return what the last one wrote."""
        return (self._work / "output").read_text()

    @contextlib.contextmanager
    def running(
        self, arguments: list[str], user: int, capabilities: list[str], *, ends: bool = False
    ) -> Iterator[float]:
        """Run a program; yield the monotonic time of its start; end it by SIGTERM on leaving.

        Args:
            ends: it ends by itself.

        Raises: Failed: it does not end in time, or not with 0.
        """
        self._number += 1
        name = f"image-check-{os.getpid()}-{self._number}"
        config = self._config(arguments, user, capabilities)
        (self._work / "config.json").write_text(json.dumps(config))
        with (self._work / "output").open("wb") as output:
            started = time.monotonic()
            process = subprocess.Popen(  # noqa: S603 - our own arguments, as below
                [self._runtime, "run", "--bundle", self._work, name],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            yield started
            if not ends:
                self._signal(name, "TERM")
            code = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"it does not end: {self.printed()[-2000:]}") from None
        except Failed as failure:
            raise Failed(f"{failure}; it wrote: {self.printed()[-2000:]}") from failure
        finally:
            if process.poll() is None:
                self._signal(name, "KILL")
                process.wait()
        if code != 0:
            raise Failed(f"it ended with {code}: {self.printed()[-2000:]}")

    def _signal(self, name: str, signal: str) -> None:
        # The container may have ended meanwhile; how it ended is looked at later.
        subprocess.run([self._runtime, "kill", name, signal], check=False)  # noqa: S603

    def _config(self, arguments: list[str], user: int, capabilities: list[str]) -> dict[str, Any]:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "MALLOC_ARENA_MAX": "1"}
        environment |= self._environment
        sets = ("bounding", "effective", "permitted")
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
        ]
        mounts += [
            {
                "destination": inside,
                "type": "bind",
                "source": str(outside),
                "options": ["rbind", "rw"],
            }
            for inside, outside in self._places.items()
        ]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self._image), "readonly": True},
            "process": {
                "args": arguments,
                "cwd": "/",
                "env": [f"{key}={value}" for key, value in environment.items()],
                "user": {"uid": user, "gid": user},
                "noNewPrivileges": True,
                "capabilities": {each: capabilities for each in sets},
            },
            "mounts": mounts,
            # The network is the machine's own: only loopback is used.
            "linux": {"namespaces": [{"type": each} for each in ("pid", "ipc", "uts", "mount")]},
        }


if __name__ == "__main__":
    sys.exit(main())
