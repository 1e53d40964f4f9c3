import pytest

from devkit.apiserver import faults, routes

GET = routes.Route("get", "/x", resource="pods", namespace="n", name="p")


@pytest.mark.parametrize(
    ("conditions", "hit"),
    [
        ({}, True),
        ({"verb": "get", "resource": "pods", "namespace": "n", "name": "p"}, True),
        ({"verb": "list"}, False),
        ({"resource": "secrets"}, False),
        ({"resource": "pods/status"}, False),
        ({"namespace": "m"}, False),
        ({"name": "q"}, False),
    ],
)
def test_what_is_hit(conditions: dict[str, str], hit: bool) -> None:
    injected = faults.Faults()
    injected.add(code=500, **conditions)
    assert (injected.take(GET) is not None) is hit


def test_subresources_and_paths() -> None:
    injected = faults.Faults()
    injected.add(resource="pods/status", code=500)
    injected.add(resource="/version", code=503)
    status = routes.Route("get", "/x", resource="pods", subresource="status")
    assert injected.take(status) is not None
    assert injected.take(routes.Route("get", "/version")) is not None
    assert injected.take(GET) is None


def test_how_often() -> None:
    injected = faults.Faults()
    fault = injected.add(code=500, count=2)
    assert [injected.take(GET) is fault for _ in range(3)] == [True, True, False]
    assert fault.hits == 2


def test_the_first_that_fits() -> None:
    injected = faults.Faults()
    first, second = injected.add(code=500, count=1), injected.add(code=503)
    assert [injected.take(GET), injected.take(GET)] == [first, second]
    injected.remove(second)
    assert injected.take(GET) is None
    injected.add()
    injected.clear()
    assert injected.take(GET) is None


@pytest.mark.parametrize(
    ("code", "reason"), [(403, "Forbidden"), (429, "TooManyRequests"), (418, "")]
)
def test_the_failure(code: int, reason: str) -> None:
    error = faults.Fault(code=code, retry_after_s=3).error()
    assert error is not None
    status = error.to_status()
    assert (status["code"], status.get("reason", "")) == (code, reason)
    assert status["details"]["retryAfterSeconds"] == 3


def test_no_failure() -> None:
    assert faults.Fault(delay_s=1).error() is None
