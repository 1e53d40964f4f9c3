import base64
import json
import pathlib
import secrets

from devkit.apiserver import kubeconfig


def test_everything_is_in_the_file(tmp_path: pathlib.Path) -> None:
    token = secrets.token_hex(8)
    path = kubeconfig.write(
        tmp_path / "config", "https://127.0.0.1:1", token=token, ca_pem=b"pem", namespace="n"
    )
    config = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    (cluster,) = config["clusters"]
    assert cluster["cluster"] == {
        "server": "https://127.0.0.1:1",
        "certificate-authority-data": base64.b64encode(b"pem").decode(),
    }
    (user,) = config["users"]
    assert user["user"] == {"token": token}
    (context,) = config["contexts"]
    assert config["current-context"] == context["name"]
    assert context["context"] == {
        "cluster": cluster["name"],
        "user": user["name"],
        "namespace": "n",
    }


def test_what_is_not_known_is_left_out(tmp_path: pathlib.Path) -> None:
    path = kubeconfig.write(tmp_path / "config", "http://127.0.0.1:1")
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"] == {"server": "http://127.0.0.1:1"}
    assert config["users"][0]["user"] == {}
    assert "namespace" not in config["contexts"][0]["context"]
