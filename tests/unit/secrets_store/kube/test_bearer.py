import os
import pathlib
import secrets
from typing import Any

import pytest

from secrets_store import log
from secrets_store.kube import access, bearer


def renew(account: pathlib.Path, token: str) -> None:
    """Swap the token as kubelet does: new directory, symlink renamed over the old one."""
    new = account / f"..{secrets.token_hex(4)}"
    new.mkdir()
    (new / "token").write_text(token)
    (account / "..tmp").symlink_to(new.name)
    (account / "..tmp").rename(account / "..data")


def test_token_is_looked_at_once_a_second(account: pathlib.Path, time: Any) -> None:
    token = bearer.Token(access.Config("https://x", token_file=str(account / "token")), time.clock)
    assert token.get() == "first"
    renew(account, "second")
    time.sleep(0.9)
    assert token.get() == "first"
    time.sleep(0.1)
    assert token.get() == "second"


def test_token_refused_is_read_at_once(account: pathlib.Path, time: Any) -> None:
    token = bearer.Token(access.Config("https://x", token_file=str(account / "token")), time.clock)
    assert token.get() == "first"
    assert not token.reload("first")
    renew(account, "second")
    assert token.reload("first")
    assert token.get() == "second"
    assert not token.reload("second")


def test_token_refused_is_read_even_if_the_file_looks_the_same(
    account: pathlib.Path, time: Any
) -> None:
    file = account / "..1" / "token"
    token = bearer.Token(access.Config("https://x", token_file=str(account / "token")), time.clock)
    assert token.get() == "first"
    facts = file.stat()
    file.write_text("other")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    time.sleep(5)
    assert token.get() == "first"
    assert token.reload("first")
    assert token.get() == "other"


@pytest.mark.parametrize("bad", ["", "\n", "a\nb", "ä", "a\0b"])
def test_file_that_is_no_token_leaves_the_last_one(
    account: pathlib.Path, time: Any, bad: str
) -> None:
    token = bearer.Token(access.Config("https://x", token_file=str(account / "token")), time.clock)
    assert token.get() == "first"
    renew(account, bad)
    time.sleep(2)
    assert token.get() == "first"
    (account / "token").unlink()
    time.sleep(2)
    assert token.get() == "first"


def test_fixed_token() -> None:
    token = bearer.Token(access.Config("https://x", token=log.Sealed("fixed")))
    assert token.get() == "fixed"
    assert not token.reload("fixed")
