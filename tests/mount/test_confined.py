"""Volumes where the kernel or a seccomp profile knows only the older system calls."""

import errno
import json
import pathlib
import subprocess
import sys

import pytest

from tests.mount import confined

pytestmark = pytest.mark.root


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM], ids=errno.errorcode.get)
@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([], id="nothing refused"),
        pytest.param([confined.FSOPEN], id="fsopen"),
        pytest.param([confined.STATX], id="statx"),
        pytest.param([confined.FSOPEN, confined.STATX], id="both"),
    ],
)
@pytest.mark.timeout(20)
def test_older_calls_serve_as_well(
    mount_place: pathlib.Path, numbers: list[int], error: int
) -> None:
    target = mount_place / "pods/1/volumes/kubernetes.io~csi/store/mount"

    told = subprocess.run(
        [sys.executable, "-m", "tests.mount.confined", target, str(error), *map(str, numbers)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {
        "states": ["ABSENT", "MOUNTED", "ABSENT"],
        "size_bytes": 1 << 16,
    }
