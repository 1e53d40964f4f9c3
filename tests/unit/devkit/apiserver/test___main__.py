import json
import pathlib
import signal
import subprocess
import sys

import click.testing
import pytest

from devkit.apiserver import __main__ as command
from devkit.apiserver import client


@pytest.mark.timeout(30)
def test_it_serves_until_it_is_told_to_stop(tmp_path: pathlib.Path) -> None:
    arguments = ["--rbac", "--no-crds", "--collect-garbage", f"--kubeconfig={tmp_path / 'k'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "devkit.apiserver", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready.keys() == {"url", "tlsUrl", "token", "caData", "kubeconfig"}
    admin = client.Client(ready["url"], ready["token"])
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert admin.items(path) == []
    stranger = client.Client(ready["url"])
    assert stranger.request("GET", path).code == 403
    for made in (admin, stranger):
        made.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.stdout.close()


def test_its_help_names_the_options() -> None:
    told = click.testing.CliRunner().invoke(command.main, ["--help"])
    assert told.exit_code == 0
    for option in ("--port", "--tls-port", "--rbac", "--collect-garbage", "--kubeconfig"):
        assert option in told.output
