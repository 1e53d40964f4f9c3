import base64
import json
import urllib.parse

import pytest

from devkit.apiserver import errors, server

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(autouse=True)
def filled(api: server.APIServer) -> None:
    for name in ("a", "a-b", "a.b", "b"):
        api.request("POST", PATH, {"metadata": {"name": name}})


def names(found: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_pages_put_together_are_the_whole(api: server.APIServer, limit: int) -> None:
    found, token = [], ""
    while True:
        page = api.request("GET", f"{PATH}?limit={limit}&continue={urllib.parse.quote(token)}")
        found += names(page)
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert page["metadata"]["remainingItemCount"] == 4 - len(found)
    assert found == ["a", "a-b", "a.b", "b"]


@pytest.mark.parametrize(
    "token", ["%%%", base64.urlsafe_b64encode(b"{}").decode(), base64.b64encode(b"[]").decode()]
)
def test_odd_tokens(api: server.APIServer, token: str) -> None:
    with pytest.raises(errors.StatusError) as caught:
        api.request("GET", f"{PATH}?continue={urllib.parse.quote(token)}")
    assert caught.value.code == 400


def test_a_token_goes_without_a_version(api: server.APIServer) -> None:
    token = api.request("GET", f"{PATH}?limit=1")["metadata"]["continue"]
    assert json.loads(base64.urlsafe_b64decode(token + "==")).keys() == {"v", "rv", "start"}
    with pytest.raises(errors.StatusError) as caught:
        api.request("GET", f"{PATH}?continue={token}&resourceVersion=5")
    assert caught.value.code == 400


def test_a_token_of_before_the_compaction(api: server.APIServer) -> None:
    token = api.request("GET", f"{PATH}?limit=1")["metadata"]["continue"]
    api.request("DELETE", f"{PATH}/a-b")
    api.compact()
    with pytest.raises(errors.StatusError) as caught:
        api.request("GET", f"{PATH}?continue={token}")
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_one_object(api: server.APIServer) -> None:
    assert api.request("GET", f"{PATH}/a")["metadata"]["name"] == "a"
    for query, code in (("", 404), ("?resourceVersion=999999", 504)):
        with pytest.raises(errors.StatusError) as caught:
            api.request("GET", f"{PATH}/none{query}")
        assert caught.value.code == code
