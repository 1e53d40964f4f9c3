import inspect

import pytest

from provider_kms import errors

PLACE = errors.Place("prod", "/app", "KEY")
ANSWER = errors.Answer(404, "NotFound", "no such secret", "req-1")
BASES = {
    errors.ProviderError,
    errors.RuleBroken,
    errors.PlaceBroken,
    errors.ReadFailed,
}
EXAMPLES = {
    errors.TokenAbsent: lambda kind: kind("kms", ["b", "a"]),
    errors.AnswerTooLarge: lambda kind: kind("the files", "9 bytes", 5, "split them"),
    errors.RateLimited: lambda kind: kind("kms.example.com", 12.0, "req-1"),
    errors.KmsUnavailable: lambda kind: kind("kms.example.com", "no connection"),
    errors.Unexpected: lambda kind: kind(),
}


def tree(root: type[errors.ProviderError]) -> list[type[errors.ProviderError]]:
    return [root, *(found for kind in root.__subclasses__() for found in tree(kind))]


KINDS = [kind for kind in tree(errors.ProviderError) if kind not in BASES]


def example(kind: type[errors.ProviderError]) -> errors.ProviderError:
    if kind in EXAMPLES:
        return EXAMPLES[kind](kind)
    if issubclass(kind, errors.RuleBroken):
        return kind("subject", "rule")
    if issubclass(kind, errors.PlaceBroken):
        return kind(PLACE, "rule")
    if issubclass(kind, errors.LoginRefused):
        return kind("identity", "kms", ANSWER)
    assert issubclass(kind, errors.ReadFailed)
    return kind(PLACE, ANSWER)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_class_has_code_reason_and_sentence(kind: type[errors.ProviderError]) -> None:
    assert isinstance(kind.code, errors.Code)
    assert kind.reason
    assert inspect.getdoc(kind)
    assert str(example(kind))
    assert "{" not in str(example(kind))


def test_there_are_as_many_as_we_think() -> None:
    assert len(KINDS) >= 25


def test_place_and_answer_are_in_the_sentence() -> None:
    assert str(errors.SecretMissing(PLACE, ANSWER)) == (
        'environment "prod", path "/app", key "KEY": the KMS answered 404 NotFound: '
        "no such secret (KMS request req-1)"
    )
    assert errors.SecretMissing(PLACE, ANSWER).request_id == "req-1"


def test_audiences_are_in_the_sentence() -> None:
    assert str(errors.TokenAbsent("kms", ["b", "a"])) == (
        'no service account token for audience "kms"; audiences present: "a", "b"'
    )
    assert "default audience" in str(errors.TokenAbsent("", []))


def test_tries_are_in_the_sentence() -> None:
    error = errors.KmsUnavailable("h", "gone")
    error.attempts = 4

    assert str(error) == "KMS h: gone (after 4 tries)"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("a\nb\0c", "a b c"),
        ("é" * 300, "é" * 255 + "…"),
        ("x" * 256, "x" * 256),
        ("\x1b[31m", " [31m"),
    ],
)
def test_foreign_text_is_one_short_line(text: str, short: str) -> None:
    assert errors.shorten(text) == short


def test_braces_in_a_subject_are_text() -> None:
    assert str(errors.InvalidRequest("{rule}", "{subject}")) == "{rule}: {subject}"


def test_a_place_is_put_in_front() -> None:
    error = errors.KmsUnavailable("h", "gone")

    assert error.told() == "KMS h: gone"
    error.where = PLACE
    assert error.told() == f"{PLACE}: KMS h: gone"
