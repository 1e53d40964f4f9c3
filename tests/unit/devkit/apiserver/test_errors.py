import pytest

from devkit.apiserver import errors


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.not_found("pods", "", "p"), 404, "NotFound"),
        (errors.no_such_path(), 404, "NotFound"),
        (errors.already_exists("pods", "", "p"), 409, "AlreadyExists"),
        (errors.conflict("pods", "", "p"), 409, "Conflict"),
        (errors.bad_request("why"), 400, "BadRequest"),
        (errors.unauthorized(), 401, "Unauthorized"),
        (errors.forbidden("pods", "", "p", "why"), 403, "Forbidden"),
        (errors.unprocessable("why"), 422, "Invalid"),
        (errors.expired("why"), 410, "Expired"),
        (errors.too_old(1, 2), 410, "Expired"),
        (errors.too_large(2, 1), 504, "Timeout"),
        (errors.method_not_allowed(), 405, "MethodNotAllowed"),
        (errors.not_acceptable(["a/b"]), 406, "NotAcceptable"),
        (errors.unsupported_media_type(["a/b"]), 415, "UnsupportedMediaType"),
        (errors.body_too_large(5), 413, "RequestEntityTooLarge"),
        (errors.internal("why"), 500, "InternalError"),
        (errors.too_many_requests(1), 429, "TooManyRequests"),
    ],
)
def test_every_failure_is_a_status(error: errors.StatusError, code: int, reason: str) -> None:
    status = error.to_status()
    assert (status["kind"], status["apiVersion"]) == ("Status", "v1")
    assert (status["status"], status["code"], status["reason"]) == ("Failure", code, reason)
    assert status["message"] == str(error)


def test_groups_are_told() -> None:
    status = errors.not_found("things", "example.com", "t").to_status()
    assert status["message"] == 'things.example.com "t" not found'
    assert status["details"] == {"name": "t", "group": "example.com", "kind": "things"}


def test_one_cause_stands_alone_and_several_in_a_list() -> None:
    one = errors.required("spec.a")
    two = errors.invalid_value("spec.b", 5, "must be less")
    alone = errors.invalid("Thing", "example.com", "t", [one])
    assert str(alone) == 'Thing.example.com "t" is invalid: spec.a: Required value'
    both = errors.invalid("Thing", "example.com", "t", [one, two])
    assert str(both) == (
        'Thing.example.com "t" is invalid: [spec.a: Required value, '
        "spec.b: Invalid value: 5: must be less]"
    )
    causes = both.to_status()["details"]["causes"]
    assert causes[1] == {
        "reason": "FieldValueInvalid",
        "message": "Invalid value: 5: must be less",
        "field": "spec.b",
    }


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (errors.required("a", "why"), "a: Required value: why"),
        (errors.forbidden_field("a", "why"), "a: Forbidden: why"),
        (
            errors.not_supported("a", "x", ["b", "c"]),
            'a: Unsupported value: "x": supported values: "b", "c"',
        ),
        (errors.too_long("a", "why"), "a: Too long: why"),
        (errors.invalid_value("a", None, "why"), "a: Invalid value: null: why"),
        (errors.Cause("R", "", "why"), "why"),
    ],
)
def test_causes_have_their_words(cause: errors.Cause, told: str) -> None:
    assert str(cause) == told


def test_a_time_to_wait_is_in_the_details() -> None:
    assert errors.too_many_requests(7).to_status()["details"] == {"retryAfterSeconds": 7}


def test_a_path_is_forbidden_without_a_resource() -> None:
    assert str(errors.forbidden("", "", "", "why")) == "forbidden: why"
