import pytest

from devkit.kms import behaviour, docnode, faults, seed_behaviour


def settings(text):
    return seed_behaviour.settings(docnode.parse(text))


def fault(text):
    return seed_behaviour.fault(docnode.parse(text))


def test_settings():
    assert settings("{}") == behaviour.Settings()
    text = "{delayMs: 1.5, maintenance: true, rateLimits: {secrets: 3}}"
    assert settings(text) == behaviour.Settings(
        delay_s=0.0015, maintenance=True, limits=behaviour.Limits(secrets=3)
    )
    assert settings("rateLimits:").limits == behaviour.Limits()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{status: 503}", faults.status(503)),
        (
            "{status: 418, headers: {X-A: b}, body: text, error: Teapot}",
            faults.status(418, headers={"x-a": "b"}, body=b"text", error="Teapot"),
        ),
        ("{retryAfter: 7}", faults.retry_after("7")),
        ("{html: 200}", faults.html()),
        ("{redirect: 'http://127.0.0.1/'}", faults.redirect("http://127.0.0.1/")),
        ("{reset: true}", faults.reset()),
        ("{delayMs: 250}", faults.delay(0.25)),
        ("{truncateAfterBytes: 9}", faults.truncated(9)),
        ("{chunkBytes: 5, chunkIntervalMs: 10}", faults.slow(5, 0.01)),
        ("{chunkBytes: 5}", faults.slow(5, 0.0)),
    ],
)
def test_kinds(text, expected):
    assert fault(text).fault == expected


def test_where_and_how_often():
    planned = fault("{status: 500}")
    assert (planned.route, planned.where, planned.left) == ("*", "", 1)
    planned = fault("{status: 500, route: GET /api/status, where: x, times: 3}")
    assert (planned.route, planned.where, planned.left) == ("GET /api/status", "x", 3)
    assert fault("{status: 500, times: always}").left is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "needs exactly one of status,"),
        ("{status: 500, reset: true}", "needs exactly one of status,"),
        ("{status: 99}", "status: expected a number from 200 to 599"),
        ("{status: 500, route: GET /x}", "route: no such route; there are *, GET /api/status"),
        ("{status: 500, times: 0}", "times: expected a number from 1"),
        ("{reset: false}", "reset: a fault that is not wanted"),
        ("{delay: 1}", "delay: unknown field"),
        ("{delayMs: -1}", "delayMs: expected a number from 0"),
    ],
)
def test_errors(text, message):
    with pytest.raises(docnode.Invalid) as caught:
        fault(text)
    assert message in str(caught.value)
