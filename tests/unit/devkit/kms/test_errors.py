import re

import pytest

from devkit.kms import errors


def test_request_ids_have_their_form_and_differ():
    ids = {errors.request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"req-[A-Za-z0-9]{14}", each) for each in ids)


def test_body_has_the_common_shape():
    body = errors.not_found("nothing here").body()
    assert re.fullmatch(r"req-[A-Za-z0-9]{14}", body.pop("reqId"))
    assert body == {"statusCode": 404, "message": "nothing here", "error": "NotFound"}


def test_each_body_has_a_request_id_of_its_own():
    refused = errors.internal()
    assert refused.body()["reqId"] != refused.body()["reqId"]


def test_details_are_there_when_given():
    assert errors.Refused(403, "PermissionDenied", "no", details=[{"a": 1}]).body()["details"] == [
        {"a": 1}
    ]


def test_the_framework_has_a_body_of_its_own():
    assert errors.RouteMissing("GET", "/api/x").body() == {
        "message": "Route GET:/api/x not found",
        "error": "Not Found",
        "statusCode": 404,
    }


@pytest.mark.parametrize(
    ("refused", "status", "error"),
    [
        (errors.bad_request("x"), 400, "BadRequest"),
        (errors.unauthorized("x"), 401, "UnauthorizedError"),
        (errors.forbidden("x"), 403, "ForbiddenError"),
        (errors.forbidden("x", "TokenError"), 403, "TokenError"),
        (errors.not_found("x"), 404, "NotFound"),
        (errors.internal(), 500, "InternalServerError"),
    ],
)
def test_statuses_and_words(refused, status, error):
    assert (refused.status, refused.error) == (status, error)
    assert refused.body()["statusCode"] == status
