import datetime

import pytest

from devkit.apiserver import objects


def test_a_copy_shares_nothing_that_can_change() -> None:
    original = {"a": [{"b": 1}], "c": "text"}
    copied = objects.copy(original)
    assert copied == original
    copied["a"][0]["b"] = 2  # type: ignore[index]
    assert original["a"] == [{"b": 1}]


def test_json_is_compact_and_keeps_letters() -> None:
    assert objects.encode({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'.encode()


def test_times_have_whole_seconds_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    when = datetime.datetime(2024, 5, 6, 7, 8, 9, 999_999, tzinfo=zone).astimezone(datetime.UTC)
    text = objects.timestamp(when)
    assert text == "2024-05-06T05:08:09Z"
    assert objects.parse_timestamp(text) == when.replace(microsecond=0)


@pytest.mark.parametrize(("api_version", "group"), [("v1", ""), ("apps/v1", "apps"), ("", "")])
def test_groups(api_version: str, group: str) -> None:
    assert objects.group_of(api_version) == group


@pytest.mark.parametrize("obj", [{}, {"metadata": None}, {"metadata": []}])
def test_absent_metadata_is_empty(obj: objects.Object) -> None:
    assert objects.metadata(obj) == {}
    assert objects.key_of(obj) == ("", "")
    assert objects.uid_of(obj) == ""


def test_readers_find_what_they_look_for_first() -> None:
    obj = {"spec": {}, "metadata": {}, "apiVersion": "v1", "kind": "Pod"}
    assert list(objects.arranged(obj)) == ["kind", "apiVersion", "metadata", "spec"]
