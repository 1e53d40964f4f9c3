"""What only the stand-in has: its log, faults, pauses, compaction, garbage collection."""

import concurrent.futures
import itertools
import json
import pathlib
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.apiserver import client, errors, server

AGENT = "tests/1.0"
SECRETS = "/api/v1/namespaces/default/secrets"


@pytest.fixture
def plain(stand_in: server.APIServer) -> Iterator[client.Client]:
    """A client over HTTP; without RBAC it needs no token."""
    made = client.Client(stand_in.url, user_agent=AGENT)
    yield made
    made.close()


def secret(name: str = "a", **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **meta}}


def owner(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    meta = obj["metadata"]
    kind = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    return kind | {"name": meta["name"], "uid": meta["uid"]} | more


def names(stand_in: server.APIServer) -> list[str]:
    found = stand_in.list_all("v1", "Secret", "default")
    return [item["metadata"]["name"] for item in found]


def test_requests_are_counted(stand_in: server.APIServer, plain: client.Client) -> None:
    plain.request("POST", SECRETS, secret())
    plain.request("GET", f"{SECRETS}/a")
    plain.request("GET", f"{SECRETS}/none")
    plain.request("GET", SECRETS)
    log = stand_in.requests
    assert log.count() == 4
    assert log.count(verb="get", resource="secrets") == 2
    assert log.count(code=404) == 1
    assert log.count(user_agent="tests/") == 4
    assert log.count(user_agent="other") == 0
    assert log.counters() == {
        ("create", "secrets", AGENT): 1,
        ("get", "secrets", AGENT): 2,
        ("list", "secrets", AGENT): 1,
    }
    entry = log.entries(verb="create")[0]
    assert (entry.namespace, entry.user, entry.code) == ("default", "system:anonymous", 201)
    assert 0 <= entry.duration_s < 1
    log.reset()
    assert log.count() == 0


def test_requests_are_waited_for(stand_in: server.APIServer, plain: client.Client) -> None:
    asking = threading.Timer(0.05, lambda: plain.request("GET", SECRETS))
    asking.start()
    (entry,) = stand_in.requests.wait(verb="list", timeout_s=4)
    assert entry.path == SECRETS
    with pytest.raises(TimeoutError):
        stand_in.requests.wait(2, timeout_s=0.05, verb="list")
    asking.join()


def test_setting_the_scene_is_not_counted(stand_in: server.APIServer) -> None:
    stand_in.create(secret())
    stand_in.patch(secret(), {"data": {"k": "dg=="}})
    changed = stand_in.get("v1", "Secret", "a", "default")
    stand_in.update(changed | {"data": {"k": "dw=="}})
    assert stand_in.delete("v1", "Secret", "a", "default")["status"] == "Success"
    with pytest.raises(errors.StatusError) as caught:
        stand_in.get("v1", "Secret", "a", "default")
    assert caught.value.code == 404
    with pytest.raises(LookupError):
        stand_in.path("v1", "Nothing")
    assert stand_in.requests.count() == 0


def test_a_fault_answers_so_often(stand_in: server.APIServer, plain: client.Client) -> None:
    fault = stand_in.faults.add(verb="list", resource="secrets", count=2, code=429, retry_after_s=3)
    answers = [plain.request("GET", SECRETS) for _ in range(3)]
    assert [answer.code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].obj["details"]["retryAfterSeconds"] == 3
    assert answers[0].obj["reason"] == "TooManyRequests"
    assert plain.request("GET", f"{SECRETS}/a").code == 404
    assert fault.hits == 2


@pytest.mark.parametrize("code", [403, 410, 500, 503])
def test_a_fault_stays_until_it_is_cleared(
    stand_in: server.APIServer, plain: client.Client, code: int
) -> None:
    stand_in.faults.add(resource="secrets", name="a", code=code)
    assert [plain.request("GET", f"{SECRETS}/a").code for _ in range(3)] == [code] * 3
    stand_in.faults.clear()
    assert plain.request("GET", f"{SECRETS}/a").code == 404


def test_a_fault_delays(stand_in: server.APIServer, plain: client.Client) -> None:
    stand_in.faults.add(verb="list", delay_s=0.2)
    start_mono = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = set(pool.map(lambda _: plain.request("GET", SECRETS).code, range(4)))
    assert codes == {200}
    # All at once: a delayed request holds up no other.
    assert 0.2 <= time.monotonic() - start_mono < 0.75


def test_a_fault_drops_the_connection(stand_in: server.APIServer, plain: client.Client) -> None:
    stand_in.faults.add(verb="create", count=1, drop=True)
    with pytest.raises(client.Unreachable):
        plain.request("POST", SECRETS, secret())
    assert names(stand_in) == []
    stand_in.faults.add(verb="create", count=1, drop_after=True)
    with pytest.raises(client.Unreachable):
        plain.request("POST", SECRETS, secret())
    assert names(stand_in) == ["a"]
    assert [entry.code for entry in stand_in.requests.entries(verb="create")] == [0, 0]


def test_the_server_goes_away_and_comes_back(
    stand_in: server.APIServer, plain: client.Client
) -> None:
    plain.request("POST", SECRETS, secret())
    before = (stand_in.url, stand_in.tls_url, stand_in.ca_pem)
    stand_in.pause()
    with pytest.raises(client.Unreachable):
        plain.request("GET", SECRETS)
    assert names(stand_in) == ["a"]
    stand_in.resume()
    assert (stand_in.url, stand_in.tls_url, stand_in.ca_pem) == before
    assert len(plain.items(SECRETS)) == 1
    trusting = client.Client(stand_in.tls_url, stand_in.admin_token, stand_in.ca_pem)
    assert len(trusting.items(SECRETS)) == 1
    trusting.close()


def test_watches_are_cut(stand_in: server.APIServer, plain: client.Client) -> None:
    ended = threading.Event()

    def follow() -> None:
        with pytest.raises(client.Unreachable):
            list(plain.watch(f"{SECRETS}?watch=1"))
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    stand_in.requests.wait(verb="watch")
    assert stand_in.watches == 1
    assert stand_in.cut_watches() == 1
    assert ended.wait(4)
    thread.join()
    assert stand_in.watches == 0


def test_compaction_makes_the_past_gone(stand_in: server.APIServer, plain: client.Client) -> None:
    for name in "abc":
        plain.request("POST", SECRETS, secret(name))
    page = plain.request("GET", f"{SECRETS}?limit=1").obj["metadata"]
    start = page["resourceVersion"]
    stand_in.compact()
    live = f"{SECRETS}?watch=1&timeoutSeconds=1&resourceVersion={start}"
    assert list(plain.watch(live)) == []
    plain.request("POST", SECRETS, secret("d"))
    stand_in.compact()
    ((kind, status),) = plain.watch(live)
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    answer = plain.request("GET", f"{SECRETS}?limit=1&continue={page['continue']}")
    assert (answer.code, answer.obj["reason"]) == (410, "Expired")
    token = answer.obj["metadata"]["continue"]
    rest = plain.items(f"{SECRETS}?continue={token}")
    assert [item["metadata"]["name"] for item in rest] == ["b", "c", "d"]
    exact = f"{SECRETS}?resourceVersion={start}&resourceVersionMatch=Exact"
    assert plain.request("GET", exact).code == 410


def test_history_is_bounded() -> None:
    with server.APIServer(history_limit=5, tls_port=None) as short:
        start = short.resource_version
        for number in range(6):
            short.create(secret(f"s{number}"))
        made = client.Client(short.url)
        path = f"{SECRETS}?watch=1&timeoutSeconds=1&resourceVersion="
        assert [kind for kind, _ in made.watch(f"{path}{start}")] == ["ERROR"]
        assert [kind for kind, _ in made.watch(f"{path}{start + 1}")] == ["ADDED"] * 5
        made.close()


def test_bookmarks_come_when_asked_for(stand_in: server.APIServer, plain: client.Client) -> None:
    path = f"{SECRETS}?watch=1&allowWatchBookmarks=true"
    metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    watches = [plain.watch(path), plain.watch(path, accept=metadata)]
    stand_in.create(secret("b"))
    first = [next(watch) for watch in watches]
    assert [kind for kind, _ in first] == ["ADDED", "ADDED"]
    version = stand_in.create({**secret("other"), "kind": "ConfigMap"})["metadata"]
    stand_in.send_bookmarks()
    for watch, kind in zip(watches, ("Secret", "PartialObjectMetadata"), strict=True):
        event, obj = next(watch)
        assert (event, obj["kind"]) == ("BOOKMARK", kind)
        assert obj["metadata"] == {"resourceVersion": version["resourceVersion"]}
    stand_in.cut_watches()
    for watch in watches:
        with pytest.raises(client.Unreachable):
            next(watch)


def test_bookmarks_come_by_themselves() -> None:
    with server.APIServer(bookmark_interval_s=0.05, tls_port=None) as often:
        made = client.Client(often.url)
        watch = made.watch(f"{SECRETS}?watch=1&allowWatchBookmarks=true")
        events = list(itertools.islice(watch, 3))
        assert [kind for kind, _ in events] == ["BOOKMARK"] * 3
        watch.close()
        made.close()


def test_what_lost_its_owners_is_collected(stand_in: server.APIServer) -> None:
    one, two = stand_in.create(secret("one")), stand_in.create(secret("two"))
    stand_in.create(secret("both", ownerReferences=[owner(one), owner(two)]))
    stand_in.create(secret("first", ownerReferences=[owner(one)]))
    stand_in.create(secret("free"))
    stranger = owner(one) | {"apiVersion": "example.com/v1", "kind": "Unknown"}
    stand_in.create(secret("unknown", ownerReferences=[stranger]))
    assert stand_in.collect_garbage() == 0
    stand_in.delete("v1", "Secret", "one", "default")
    stand_in.collect_garbage()
    assert names(stand_in) == ["both", "free", "two", "unknown"]
    both = stand_in.get("v1", "Secret", "both", "default")
    assert both["metadata"]["ownerReferences"] == [owner(two)]
    stand_in.delete("v1", "Secret", "two", "default")
    stand_in.collect_garbage()
    assert names(stand_in) == ["free", "unknown"]


def test_an_owner_is_known_by_its_uid(stand_in: server.APIServer) -> None:
    first = stand_in.create(secret("one"))
    stand_in.create(secret("child", ownerReferences=[owner(first)]))
    stand_in.delete("v1", "Secret", "one", "default")
    stand_in.create(secret("one"))
    stand_in.collect_garbage()
    assert names(stand_in) == ["one"]


def test_foreground_and_orphan_deletion(stand_in: server.APIServer) -> None:
    one, two = stand_in.create(secret("one")), stand_in.create(secret("two"))
    blocking = owner(one, blockOwnerDeletion=True)
    stand_in.create(secret("child", ownerReferences=[blocking]))
    stand_in.create(secret("orphan", ownerReferences=[owner(two)]))
    stand_in.delete("v1", "Secret", "one", "default", {"propagationPolicy": "Foreground"})
    stand_in.delete("v1", "Secret", "two", "default", {"propagationPolicy": "Orphan"})
    assert names(stand_in) == ["child", "one", "orphan", "two"]
    stand_in.collect_garbage()
    assert names(stand_in) == ["orphan"]
    orphan = stand_in.get("v1", "Secret", "orphan", "default")
    assert "ownerReferences" not in orphan["metadata"]


def test_garbage_is_collected_by_itself_if_wanted() -> None:
    with server.APIServer(collect_garbage=True, tls_port=None) as tidy:
        made = client.Client(tidy.url)
        parent = made.create(secret("one"))
        made.create(secret("child", ownerReferences=[owner(parent)]))
        version = tidy.resource_version
        watch = made.watch(f"{SECRETS}?watch=1&resourceVersion={version}")
        made.request("DELETE", f"{SECRETS}/one")
        gone = [next(watch)[1]["metadata"]["name"] for _ in range(2)]
        assert gone == ["one", "child"]
        watch.close()
        made.close()


def test_a_namespace_is_emptied(stand_in: server.APIServer) -> None:
    stand_in.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}})
    body = secret("held", namespace="n", finalizers=["example.com/x"])
    stand_in.create(body)
    stand_in.create(secret("free", namespace="n"))
    found = stand_in.delete("v1", "Namespace", "n")
    assert found["status"]["phase"] == "Terminating"
    with pytest.raises(errors.StatusError) as caught:
        stand_in.create(secret("late", namespace="n"))
    assert caught.value.code == 403
    assert caught.value.details is not None
    assert caught.value.details["causes"][0]["reason"] == "NamespaceTerminating"
    stand_in.collect_garbage()
    assert [item["metadata"]["name"] for item in stand_in.list_all("v1", "Secret", "n")] == ["held"]
    stand_in.patch(body, {"metadata": {"finalizers": None}})
    stand_in.collect_garbage()
    with pytest.raises(errors.StatusError) as caught:
        stand_in.get("v1", "Namespace", "n")
    assert caught.value.code == 404


def test_pods_are_finished_as_kubelet_does(stand_in: server.APIServer) -> None:
    spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    stand_in.create(pod)
    stand_in.delete("v1", "Pod", "p", "default")
    assert len(stand_in.list_all("v1", "Pod")) == 1
    stand_in.finish_pod_deletion("p")
    assert stand_in.list_all("v1", "Pod") == []


def test_users_and_accounts(stand_in: server.APIServer) -> None:
    token = secrets.token_hex(8)
    stand_in.add_user(token, "jane", ("team",))
    made = client.Client(stand_in.url, token)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    found = made.request("POST", path, body).obj["status"]["userInfo"]
    assert found == {"username": "jane", "groups": ["team", "system:authenticated"]}
    made.close()
    stand_in.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa"}})
    status = stand_in.service_account_token("sa", audiences=("vault",))
    assert status["token"].count(".") == 2


def test_many_creates_at_once_are_quick(stand_in: server.APIServer) -> None:
    made = [client.Client(stand_in.url) for _ in range(10)]

    def create(number: int) -> int:
        return made[number % 10].request("POST", SECRETS, secret(f"s{number}")).code

    start_mono = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert set(pool.map(create, range(110))) == {201}
    assert time.monotonic() - start_mono < 2
    served_s = sorted(entry.duration_s for entry in stand_in.requests.entries(verb="create"))
    assert served_s[55] < 0.002
    for one in made:
        one.close()


def test_a_taken_port_is_told() -> None:
    with server.APIServer(tls_port=None) as first:
        port = int(first.url.rpartition(":")[2])
        second = server.APIServer(port=port, tls_port=None)
        with pytest.raises(OSError, match="in use"):
            second.start()
        second.stop()


@pytest.mark.timeout(30)
def test_it_runs_as_a_process(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "kubeconfig"
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit.apiserver", f"--kubeconfig={config}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["kubeconfig"] == str(config)
    assert config.stat().st_mode & 0o777 == 0o600
    made = client.Client(ready["tlsUrl"], ready["token"], ready["caData"].encode())
    assert made.request("GET", "/readyz").code == 200
    made.request("POST", SECRETS, secret())
    control(made)
    made.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    process.stdout.close()


def control(made: client.Client) -> None:
    """Work the paths below /devkit."""
    counted = made.request("GET", "/devkit/requests?verb=create&resource=secrets").obj
    assert counted["count"] == 1
    assert {"verb": "create", "resource": "secrets", "userAgent": "devkit-client", "count": 1} in (
        counted["counters"]
    )
    assert made.request("DELETE", "/devkit/requests").code == 200
    assert made.request("GET", "/devkit/requests").obj["count"] == 0
    assert made.request("GET", "/devkit/requests?odd=1").code == 400
    assert made.request("POST", "/devkit/faults", {"verb": "list", "code": 503}).code == 200
    assert made.request("POST", "/devkit/faults", {"odd": 1}).code == 400
    assert made.request("GET", SECRETS).code == 503
    assert made.request("DELETE", "/devkit/faults").code == 200
    assert made.request("GET", SECRETS).code == 200
    assert made.request("POST", "/devkit/collect-garbage").obj == {"result": 0}
    assert made.request("POST", "/devkit/cut-watches").obj == {"result": 0}
    assert made.request("POST", "/devkit/compact").code == 200
    assert made.request("POST", "/devkit/odd").code == 404
