import pytest

from devkit.kms import errors, schema


def issues(given, parsers, required=()):
    with pytest.raises(errors.Refused) as caught:
        schema.query(given, parsers, required)
    assert (caught.value.status, caught.value.error) == (422, "ValidationFailure")
    return [(each["code"], each["path"]) for each in caught.value.message]


def test_known_parameters_are_parsed_and_others_ignored():
    given = [("b", "true"), ("x", "1"), ("t", " a ")]
    assert schema.query(given, {"b": schema.boolean, "t": schema.trimmed, "n": schema.number}) == {
        "b": True,
        "t": "a",
    }


@pytest.mark.parametrize("text", ["1", "0", "True", "TRUE", "yes", "", " true"])
def test_booleans_are_strict(text):
    assert issues([("b", text)], {"b": schema.boolean}) == [("invalid_enum_value", ["b"])]


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0.0), (" ", 0.0), ("3", 3.0), (" 3 ", 3.0), ("1.5", 1.5), ("-1", -1.0), ("1e2", 100.0)],
)
def test_numbers_are_coerced(text, number):
    assert schema.query([("n", text)], {"n": schema.number}) == {"n": number}


@pytest.mark.parametrize("text", ["a", "1_0", "nan", "1 2", "v3"])
def test_what_is_no_number(text):
    assert issues([("n", text)], {"n": schema.number}) == [("invalid_type", ["n"])]


def test_a_parameter_given_twice():
    assert issues([("t", "a"), ("t", "a")], {"t": schema.text}) == [("invalid_type", ["t"])]


def test_every_fault_has_an_issue():
    parsers = {"a": schema.text, "b": schema.boolean, "c": schema.one_of("x", "y")}
    assert issues([("b", "1"), ("c", "z")], parsers, ["a"]) == [
        ("invalid_type", ["a"]),
        ("invalid_enum_value", ["b"]),
        ("invalid_enum_value", ["c"]),
    ]


def test_metadata_filter():
    assert schema.metadata_filter("key=a,value=1|key=b,value=x,y") == (("a", "1"), ("b", "x,y"))
    assert len(schema.metadata_filter("|".join(["key=a,value=1"] * 10))) == 10
    for wrong in ("", "a=1", "|".join(["key=a,value=1"] * 11)):
        assert issues([("m", wrong)], {"m": schema.metadata_filter}) == [("custom", ["m"])]


def test_body():
    assert schema.body(b'{"a": " x ", "z": 1, "b": ""}', ["a"], ["b", "c"]) == {"a": "x", "b": ""}


@pytest.mark.parametrize(
    ("raw", "status"),
    [(None, 500), (b"{", 500), (b"\xff", 500), (b"[]", 422), (b"{}", 422), (b'{"a": null}', 422)],
)
def test_bodies_that_are_refused(raw, status):
    with pytest.raises(errors.Refused) as caught:
        schema.body(raw, ["a"])
    assert caught.value.status == status


def test_an_optional_field_of_the_wrong_type_is_refused():
    with pytest.raises(errors.Refused) as caught:
        schema.body(b'{"a": "x", "b": 1}', ["a"], ["b"])
    assert [each["path"] for each in caught.value.message] == [["b"]]
