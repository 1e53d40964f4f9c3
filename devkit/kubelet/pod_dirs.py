"""The directories that kubelet keeps for a pod and its CSI volumes.

    <root>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/vol_data.json
    <root>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount          (the driver's)

Kubelet makes everything down to the volume's directory and removes it again; `mount`
is made by the driver and, when the driver left it, removed by kubelet. It never
removes anything but empty directories and its own file. Blocking, but only a few
system calls at a time.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

_MODE = 0o750
_DATA_FILE = "vol_data.json"


class LeftBehind(Exception):
    """Something still lies in a pod's directory after everything was torn down."""

    def __init__(self, paths: list[pathlib.Path]) -> None:
        super().__init__(f"left behind: {', '.join(map(str, paths))}")
        self.paths = paths


@dataclasses.dataclass(frozen=True, slots=True)
class VolumeData:
    """What kubelet notes about a volume, to be able to unmount it after a restart."""

    volume_name: str
    volume_id: str
    driver: str
    node_name: str
    attachment_id: str

    def to_dict(self) -> dict[str, str]:
        """Give the keys their names in the file."""
        return {
            "attachmentID": self.attachment_id,
            "driverName": self.driver,
            "nodeName": self.node_name,
            "specVolID": self.volume_name,
            "volumeHandle": self.volume_id,
            "volumeLifecycleMode": "Ephemeral",
        }

    @classmethod
    def from_dict(cls, data: dict[str, str]) -> "VolumeData":
        """Undo `to_dict`."""
        return cls(
            volume_name=data["specVolID"],
            volume_id=data["volumeHandle"],
            driver=data["driverName"],
            node_name=data["nodeName"],
            attachment_id=data["attachmentID"],
        )


class PodDirs:
    """The pod directories below one kubelet root.

    Args:
        root: kubelet's directory, normally /var/lib/kubelet.
        is_mount_point: how to see whether something is mounted; to be replaced when
            the driver runs where its mounts cannot be seen from here.
    """

    def __init__(
        self, root: pathlib.Path, is_mount_point: Callable[[str], bool] = os.path.ismount
    ) -> None:
        self._root = root
        self._is_mount_point = is_mount_point

    def pod(self, pod_uid: str) -> pathlib.Path:
        return self._root / "pods" / pod_uid

    def volume(self, pod_uid: str, volume_name: str) -> pathlib.Path:
        return self.pod(pod_uid) / "volumes" / "kubernetes.io~csi" / volume_name

    def target(self, pod_uid: str, volume_name: str) -> pathlib.Path:
        """Say where the driver is told to mount."""
        return self.volume(pod_uid, volume_name) / "mount"

    def make(self, pod_uid: str, data: VolumeData) -> None:
        """Make the volume's directory, but not `mount`, and note what it is."""
        for directory in ("volumes", "plugins"):
            (self.pod(pod_uid) / directory).mkdir(_MODE, parents=True, exist_ok=True)
        volume = self.volume(pod_uid, data.volume_name)
        volume.mkdir(_MODE, parents=True, exist_ok=True)
        (volume / _DATA_FILE).write_text(json.dumps(data.to_dict()))

    def read(self, pod_uid: str, volume_name: str) -> VolumeData:
        """Read what `make` noted.

        Raises:
            FileNotFoundError: nothing was, or it has been removed.
        """
        text = (self.volume(pod_uid, volume_name) / _DATA_FILE).read_text()
        return VolumeData.from_dict(json.loads(text))

    def remove_volume(self, pod_uid: str, volume_name: str) -> None:
        """Remove a volume's directory, unless its mount directory is a mount point.

        Raises:
            OSError: the mount directory is no mount point and not empty.
        """
        target = self.target(pod_uid, volume_name)
        if self._is_mount_point(str(target)):
            return
        volume = self.volume(pod_uid, volume_name)
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()
        (volume / _DATA_FILE).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            volume.rmdir()

    def remove_pod(self, pod_uid: str) -> None:
        """Remove what is empty of a pod's directory.

        Raises:
            LeftBehind: something was not, such as a volume still mounted.
        """
        pod = self.pod(pod_uid)
        # Only directories of our own making, so that nothing below a mount is touched.
        for pattern in ("volumes/*/*", "volumes/*", "*"):
            for directory in pod.glob(pattern):
                with contextlib.suppress(OSError):
                    directory.rmdir()
        with contextlib.suppress(OSError):
            pod.rmdir()
        if pod.exists():
            raise LeftBehind(sorted(path for path in pod.rglob("*") if not _has_entries(path)))


def _has_entries(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink() and any(path.iterdir())
