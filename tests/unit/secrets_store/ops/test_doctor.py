import json
import pathlib
import socket

from click.testing import CliRunner

from devkit.apiserver import server
from secrets_store import settings
from secrets_store.ops import doctor, main

ROOT = pathlib.Path(__file__).parents[4]


def examine(kubeconfig: str, *more: str) -> dict[str, str]:
    told = CliRunner().invoke(main.main, ["doctor", "--json", "--kubeconfig", kubeconfig, *more])
    assert told.exit_code in (0, 1), told.output
    return {x["what"]: x["state"] for x in json.loads(told.output)}


def test_an_empty_cluster_is_told_what_it_lacks(api: server.APIServer, kubeconfig: str) -> None:
    found = examine(kubeconfig)
    assert found["CSIDriver secrets-store.csi.k8s.io does not exist"] == "error"
    assert any("may not get secretproviderclasses" in what for what in found)


def test_a_cluster_with_everything_is_well(api: server.APIServer, kubeconfig: str) -> None:
    import yaml

    for name in ("csidriver.yaml", "driver-rbac.yaml"):
        for obj in yaml.safe_load_all((ROOT / "deploy" / "yaml" / name).read_text()):
            if obj:
                api.create(obj)
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    api.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": "n1"},
            "spec": {
                "drivers": [
                    {"name": "secrets-store.csi.k8s.io", "nodeID": "n1", "topologyKeys": None}
                ]
            },
        }
    )
    found = examine(kubeconfig)
    assert "error" not in found.values(), found
    assert found["the driver is registered on all 1 nodes"] == "ok"


def test_a_node_without_the_driver_is_named(api: server.APIServer, kubeconfig: str) -> None:
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}})
    assert examine(kubeconfig)["node n2: the driver is not registered"] == "error"


def test_a_dead_socket_is_told_from_a_living_one() -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        directory = pathlib.Path(folder)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(directory / "dead.sock"))
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(directory / "living.sock"))
            living.listen()
            chosen = settings.Settings(provider_volume=folder, additional_provider_volume_paths="")
            states = {x.what.split()[-1]: x.state for x in doctor.examine_node(chosen)}
    assert states[f"{directory}/dead.sock"] == "error"
    assert states[f"{directory}/living.sock"] == "ok"


def test_no_socket_at_all_is_a_warning(tmp_path: pathlib.Path) -> None:
    chosen = settings.Settings(provider_volume=str(tmp_path), additional_provider_volume_paths="")
    first = next(doctor.examine_node(chosen))
    assert (first.state, first.remedy) == ("warning", "install a provider")


def test_a_machine_is_looked_at_as_a_node(api: server.APIServer, kubeconfig: str) -> None:
    more = examine(kubeconfig, "--node").keys() - examine(kubeconfig).keys()
    assert any("tmpfs" in what or "noswap" in what for what in more), more
