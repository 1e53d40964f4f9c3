import pytest

from devkit.kms import docnode


def fails(call, line, path, problem):
    with pytest.raises(docnode.Invalid) as caught:
        call()
    assert (caught.value.line, caught.value.path) == (line, path)
    assert problem in caught.value.problem
    return caught.value


def field(text, name="a"):
    return docnode.parse(text).fields(name)[name]


@pytest.mark.parametrize(
    "text", ["0123", "yes", "1.50", "2020-01-01", "~", "null", "0x1F", "=", ""]
)
def test_scalars_are_taken_as_written(text):
    assert field(f"a: {text}").text() == text


def test_quoted_and_block_scalars():
    assert field('a: "x\\ny"').text() == "x\ny"
    assert field("a: |\n  x\n  y\n").text() == "x\ny\n"
    assert field("a: ''").text() == ""


def test_broken_yaml_has_its_line():
    error = fails(lambda: docnode.parse("a: 1\nb: 2\nc: }\n"), 3, "", "'}'")
    assert str(error).startswith("line 3: ")


@pytest.mark.parametrize("text", ["a: \x01", "--- 1\n--- 2\n", "a: *nowhere", "\ta: 1"])
def test_what_is_no_document(text):
    with pytest.raises(docnode.Invalid):
        docnode.parse(text)


def test_an_empty_document_is_an_empty_mapping():
    assert docnode.parse("# nothing\n").fields("a") == {}


def test_paths_and_lines():
    node = docnode.parse("top:\n  /app:\n    - x\n    - y: [1]\n")
    _, top = next(node.items())
    _, folder = next(top.items())
    second = folder.sequence()[1]
    error = fails(lambda: second.text(), 4, "top./app[1]", "expected text")
    assert str(error) == "line 4, top./app[1]: expected text"


def test_a_key_that_comes_twice():
    fails(lambda: docnode.parse("a: 1\nb: 2\na: 3\n").fields("a", "b"), 3, "a", "twice")


def test_an_unknown_field():
    error = fails(lambda: docnode.parse("x:\n  y: 1\n").fields("a", "b"), 2, "x", "unknown field")
    assert "a, b" in error.problem


def test_a_required_field():
    fails(lambda: field("a: {b: 1}").fields("b", "c", required=["c"]), 1, "a", "needs the field c")


@pytest.mark.parametrize("text", ["a: x", "a: [1]", "a: ''"])
def test_what_is_no_mapping(text):
    fails(lambda: list(field(text).items()), 1, "a", "expected a mapping")


@pytest.mark.parametrize("text", ["a: x", "a: {b: 1}"])
def test_what_is_no_list(text):
    fails(lambda: field(text).sequence(), 1, "a", "expected a list")


def test_keys_must_be_text():
    fails(lambda: list(docnode.parse("[a]: 1").items()), 1, "", "expected text")


def test_nothing_is_an_empty_list_and_an_empty_mapping():
    node = field("a:\n")
    assert (node.sequence(), list(node.items())) == ([], [])
    assert (docnode.EMPTY.sequence(), list(docnode.EMPTY.items())) == ([], [])


def test_integers():
    assert field("a: 12").integer(0) == 12
    assert docnode.ZERO.integer(0) == 0
    for text in ("-1", "1.5", "x", "'1_0'", "٣"):
        fails(lambda text=text: field(f"a: {text}").integer(0), 1, "a", "whole number")
    fails(lambda: field("a: 1").integer(2), 1, "a", "from 2 to any")
    fails(lambda: field("a: 9").integer(2, 8), 1, "a", "from 2 to 8")


def test_numbers():
    assert field("a: 1.5").number() == 1.5
    for text in ("-1", "inf", "nan", "x"):
        fails(lambda text=text: field(f"a: {text}").number(), 1, "a", "a number from 0")


def test_booleans():
    assert field("a: true").boolean() is True
    assert field("a: false").boolean() is False
    for text in ("yes", "True", "1", ""):
        fails(lambda text=text: field(f"a: {text}").boolean(), 1, "a", "true or false")
