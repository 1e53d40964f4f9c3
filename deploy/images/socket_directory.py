"""Make the place where a provider that is not root can put its socket. Runs before it, as root.

The node's directory of provider sockets belongs to root, and drivers look there for NAME.sock. So
the provider gets a directory NAME of its own, and NAME.sock becomes a link into it. Needs the
capability CAP_CHOWN and no other.
"""

import argparse
import os
import pathlib
import stat
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="socket-directory", description=__doc__)
    parser.add_argument("--directory", type=pathlib.Path, required=True)
    parser.add_argument("--name", required=True, help="of the provider")
    parser.add_argument("--owner", type=int, required=True, help="user and group id")
    parser.add_argument(
        "--alias", action="append", default=[], help="another provider name, linked as well"
    )
    options = parser.parse_args(arguments)
    try:
        make(options.directory / options.name, options.owner)
        for name in (options.name, *options.alias):
            link(options.directory / f"{name}.sock", f"{options.name}/{name}.sock")
    except OSError as error:
        print(f"socket-directory: {error}", file=sys.stderr)
        return 1
    return 0


def make(place: pathlib.Path, owner: int) -> None:
    """Make a directory that only its owner can use; one that is right already is left alone.

    Raises: OSError: something else has the name.
    """
    try:
        place.mkdir(0o700)
    except FileExistsError:
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (owner, owner, 0o700):
            return
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        # The mode first: who is no longer the owner may not change it.
        os.fchmod(held, 0o700)
        os.fchown(held, owner, owner)
    finally:
        os.close(held)


def link(path: pathlib.Path, target: str) -> None:
    """Let a name lead to the socket, in one step; a socket of that name is replaced.

    Raises: OSError.
    """
    if path.is_symlink() and os.readlink(path) == target:
        return
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
