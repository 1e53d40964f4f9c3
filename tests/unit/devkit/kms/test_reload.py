import os
import queue

import pytest

from devkit.kms import reload

FIRST = "projects: {p: {environments: {e: {/: {secrets: {K: one}}}}}}\n"
SECOND = FIRST.replace("one", "two")


class Watched:
    """A seed file, its reloader, and what the two did."""

    def __init__(self, path):
        self.path = path
        self.path.write_text(FIRST)
        self.applied = queue.Queue()
        self.reports = queue.Queue()
        self.reloader = reload.Reloader(path, FIRST, self.applied.put, self.reports.put)
        self.reloader.start()

    def value(self):
        """The value of the next world that is applied."""
        applied = self.applied.get(timeout=4)
        return applied.projects[0].environments["e"]["/"].secrets["K"].value

    def report(self):
        return self.reports.get(timeout=4)


@pytest.fixture
def watched(tmp_path):
    made = Watched(tmp_path / "seed.yaml")
    yield made
    made.reloader.stop()


def test_writing_in_place(watched):
    watched.path.write_text(SECOND)
    assert watched.value() == "two"
    assert watched.report() == "seed.yaml: applied"


def test_saving_by_rename(watched):
    for value in ("two", "three"):
        beside = watched.path.with_suffix(".swp")
        beside.write_text(FIRST.replace("one", value))
        os.replace(beside, watched.path)
        assert watched.value() == value


def test_saving_by_moving_the_old_file_away(watched):
    os.rename(watched.path, watched.path.with_suffix(".yaml~"))
    watched.path.write_text(SECOND)
    assert watched.value() == "two"


def test_a_symlink_that_is_swapped(tmp_path):
    for name, text in (("one", FIRST), ("two", SECOND)):
        (tmp_path / name).write_text(text)
    link = tmp_path / "link.yaml"
    link.symlink_to("one")
    applied = queue.Queue()
    reloader = reload.Reloader(link, FIRST, applied.put, lambda _: None)
    reloader.start()
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", link)
    assert applied.get(timeout=4).projects[0].environments["e"]["/"].secrets["K"].value == "two"
    reloader.stop()


def test_broken_yaml_keeps_the_world_and_names_the_line(watched):
    watched.path.write_text(FIRST + "identities: [\n")
    assert watched.report().startswith("seed.yaml: line 3: ")
    watched.path.write_text(FIRST + "identities: {I: {x: 1}}\n")
    report = watched.report()
    assert report.startswith("seed.yaml: line 2, identities.I.x: unknown field")
    assert report.endswith("the world stays as it was")
    assert watched.applied.empty()
    watched.path.write_text(SECOND)
    assert watched.value() == "two"


def test_a_file_that_is_gone_or_no_text_keeps_the_world(watched):
    watched.path.unlink()
    assert "No such file" in watched.report()
    watched.path.write_bytes(b"\xff")
    assert "utf-8" in watched.report()
    assert watched.applied.empty()


def test_the_same_text_is_not_applied_again(watched):
    watched.path.write_text(FIRST)
    (watched.path.parent / "another").write_text("x")
    watched.path.write_text(SECOND)
    assert watched.value() == "two"
    assert watched.applied.empty()


def test_a_change_before_the_start_is_seen(tmp_path):
    path = tmp_path / "seed.yaml"
    path.write_text(SECOND)
    applied = queue.Queue()
    reloader = reload.Reloader(path, FIRST, applied.put, lambda _: None)
    reloader.start()
    assert applied.get(timeout=4)
    reloader.stop()


def test_after_the_stop_nothing_is_applied(watched):
    watched.reloader.stop()
    watched.path.write_text(SECOND)
    assert watched.applied.empty()


def test_standard_error(capsys):
    reload.to_stderr("a line")
    assert capsys.readouterr().err == "a line\n"
