import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.parse

import pytest
import urllib3

from devkit.kms import review, tls

ROOT = pathlib.Path(__file__).parents[4]
SEED = """
projects: {P: {environments: {prod: {/: {secrets: {K: one}}}}}}
identities: {I: {kubernetes: {allowedAudience: kms}}}
"""


@pytest.fixture
def start(tmp_path):
    """Start the process; gives it and the URL it prints, and ends it if the test does not."""
    running = []

    def run(*arguments, text=SEED):
        path = tmp_path / "seed.yaml"
        path.write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "devkit.kms", "--seed", str(path), *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        line = process.stdout.readline()
        return process, json.loads(line) if line else {}

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process, number=signal.SIGTERM):
    process.send_signal(number)
    out, err = process.communicate(timeout=4)
    return process.returncode, out, err


@pytest.fixture
def pool():
    with urllib3.PoolManager(retries=False, timeout=4.0) as made:
        yield made


def read(pool, url, jwt, key="K"):
    body = {"identityId": "I", "jwt": jwt}
    answer = pool.request("POST", f"{url}/api/v1/auth/kubernetes-auth/login", json=body)
    assert answer.status == 200, answer.data
    query = "workspaceId=P&environment=prod"
    bearer = {"authorization": f"Bearer {answer.json()['accessToken']}"}
    answer = pool.request("GET", f"{url}/api/v3/secrets/raw/{key}?{query}", headers=bearer)
    return answer.json()["secret"]["secretValue"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_url_and_ends_cleanly(start, pool, number):
    process, ready = start()
    assert ready["pid"] == process.pid
    assert pool.request("GET", ready["url"] + "/api/status").status == 200
    assert end(process, number) == (0, "", "")


@pytest.mark.timeout(20)
def test_saving_the_seed_changes_the_world(start, pool, tmp_path):
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    process, ready = start("--pod-token-key-file", key)
    jwt = review.PodTokens(key.read_bytes()).issue_token("shop", "front", "kms")
    assert read(pool, ready["url"], jwt) == "one"
    beside = tmp_path / "beside"
    beside.write_text(SEED.replace("one", "two"))
    os.replace(beside, tmp_path / "seed.yaml")
    assert process.stderr.readline() == "seed.yaml: applied\n"
    assert read(pool, ready["url"], jwt) == "two"
    (tmp_path / "seed.yaml").write_text(SEED + "x")
    assert process.stderr.readline().startswith("seed.yaml: line ")
    assert read(pool, ready["url"], jwt) == "two"


@pytest.mark.timeout(20)
def test_https_a_given_port_a_delay_and_a_log(start, tmp_path):
    authority = tls.Authority()
    certificate, key = authority.issue().write(tmp_path, "kms")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--tls-cert", certificate, "--tls-key", key, "--port", port]
    process, ready = start(*options, "--delay-ms", 30, "--log-requests")
    url = urllib.parse.urlsplit(ready["url"])
    assert (url.scheme, url.port) == ("https", port)
    context = urllib3.util.create_urllib3_context()
    context.load_verify_locations(cadata=authority.certificate_pem)
    with urllib3.PoolManager(retries=False, timeout=4.0, ssl_context=context) as pool:
        pool.request("GET", ready["url"] + "/api/status")
    code, _, err = end(process)
    record = json.loads(err)
    assert code == 0
    assert (record["route"], record["status"]) == ("GET /api/status", 200)
    assert record["duration_s"] >= 0.03


@pytest.mark.timeout(20)
def test_an_api_server_reviews_if_there_is_one(start, pool, unused_tcp_port):
    _, ready = start("--kubernetes-host", f"http://127.0.0.1:{unused_tcp_port}")
    body = {"identityId": "I", "jwt": "x"}
    answer = pool.request("POST", ready["url"] + "/api/v1/auth/kubernetes-auth/login", json=body)
    assert (answer.status, answer.json()["error"]) == (400, "KubernetesConnectionRefused")


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("arguments", "text", "code", "message"),
    [
        ([], "projects: []", 1, "seed.yaml: line 1, projects: expected a mapping"),
        (["--tls-cert", __file__], SEED, 2, "go together"),
    ],
)
def test_what_keeps_it_from_starting(start, arguments, text, code, message):
    process, _ = start(*arguments, text=text)
    _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert message in err
