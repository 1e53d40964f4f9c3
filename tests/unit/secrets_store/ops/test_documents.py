import pytest

from secrets_store.ops import documents


def test_every_path_has_its_line() -> None:
    (document,) = documents.read("a:\n  b:\n    - x\n    - y: 1\n")
    assert document.value == {"a": {"b": ["x", {"y": 1}]}}
    assert document.line("a", "b", 1, "y") == 4
    assert document.line("a", "b", 7) == 2


def test_a_block_s_text_begins_on_the_next_line() -> None:
    (document,) = documents.read("a: |\n  text\n")
    assert document.line("a", "|") == 2


def test_plain_scalars_are_their_text() -> None:
    (document,) = documents.read("a: 0644\nb: yes\n", plain=True)
    assert document.value == {"a": "0644", "b": "yes"}


def test_empty_documents_are_left_out() -> None:
    assert [x.value for x in documents.read("---\n---\na: 1\n")] == [{"a": 1}]


@pytest.mark.parametrize(("text", "line"), [("a: [", 1), ("a: 1\n\tb: 2\n", 2), ("a: &x *y\n", 1)])
def test_what_is_no_yaml_has_a_line(text: str, line: int) -> None:
    with pytest.raises(documents.Unreadable) as failed:
        list(documents.read(text))
    assert failed.value.line == line
