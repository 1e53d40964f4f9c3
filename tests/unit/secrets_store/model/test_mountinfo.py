import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store.model import mountinfo

# Made up in the form that proc(5) gives.
LINES = r"""21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
22 21 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:13 master:2 - proc proc rw
40 21 0:44 / /var/lib/kubelet/pods/u\040one/v/mount rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
41 40 0:45 /sub\134dir /var/lib/kubelet/pods/u\040one/v/mount rw - ext4 //host/a\040b rw
42 21 0:46 / /var/lib/kubelet/pods/u rw - tmpfs  rw
"""


def escaped(text: str) -> str:
    """Escape as the kernel does: backslash, blank, tab and newline as three octal digits."""
    return "".join(f"\\{ord(x):03o}" if x in "\\ \t\n" else x for x in text)


def test_every_field_is_read() -> None:
    root, proc, volume, stacked, nameless = mountinfo.parse(LINES)

    assert root == mountinfo.Mount(
        mount_id=21,
        parent_id=1,
        device="254:0",
        root="/",
        mount_point="/",
        options=("rw", "relatime"),
        fs_type="ext4",
        source="/dev/vda",
        super_options=("rw", "errors=remount-ro"),
    )
    assert (proc.fs_type, proc.source) == ("proc", "proc")
    assert volume.mount_point == "/var/lib/kubelet/pods/u one/v/mount"
    assert volume.super_options == ("rw", "size=65536k", "mode=755")
    assert (stacked.root, stacked.source) == ("/sub\\dir", "//host/a b")
    assert nameless.source == ""


def test_stacked_mounts_come_lowest_first() -> None:
    found = mountinfo.at(LINES, "/var/lib/kubelet/pods/u one/v/mount")

    assert [mount.mount_id for mount in found] == [40, 41]


@pytest.mark.parametrize(
    "mount_point", ["/var/lib/kubelet/pods", "/var/lib/kubelet/pods/u one/v", "/sub\\dir", "rw"]
)
def test_only_the_very_mount_point_is_found(mount_point: str) -> None:
    assert mountinfo.at(LINES, mount_point) == []


def test_other_lines_are_not_even_read() -> None:
    broken = "no line of mountinfo\n" + LINES

    assert [mount.mount_id for mount in mountinfo.at(broken, "/proc")] == [22]


@pytest.mark.parametrize(
    "line",
    [
        "no line of mountinfo",
        "21 1 254:0 / / rw shared:1 ext4 /dev/vda rw",
        "21 1 254:0 / / - ext4 /dev/vda rw",
        "21 1 254:0 / / rw - ext4",
        "x 1 254:0 / / rw - ext4 /dev/vda rw",
    ],
)
def test_another_form_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"mountinfo|invalid literal"):
        mountinfo.parse(line)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
TRICKY = st.text(st.sampled_from("\\ \t\n-0140/\u2028\u0085\x0b\x0c\x1c#,é"), min_size=1)


@given(NAMES | TRICKY, NAMES | TRICKY)
def test_what_the_kernel_escapes_reads_back(mount_point: str, root: str) -> None:
    line = f"40 21 0:44 /{escaped(root)} /{escaped(mount_point)} rw shared:2 - tmpfs tmpfs rw"
    text = f"{LINES}{line}\n{LINES}"

    mounts = mountinfo.parse(text)
    found = mountinfo.at(text, f"/{mount_point}")

    assert len(mounts) == 11
    assert (mounts[5].root, mounts[5].mount_point) == (f"/{root}", f"/{mount_point}")
    assert mounts[5] in found


def test_the_kernel_s_own_list_is_read() -> None:
    with open(
        "/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n"
    ) as lines:
        text = lines.read()

    mounts = mountinfo.parse(text)

    assert len(mounts) == text.count("\n")
    (top, *_) = mountinfo.at(text, "/")
    assert top in mounts
    assert all(pathlib.PurePath(mount.mount_point).is_absolute() for mount in mounts)
