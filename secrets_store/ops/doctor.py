"""``secrets-store doctor``: is everything in place, and if not, what to do."""

import dataclasses
import json
import pathlib
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from secrets_store import settings
from secrets_store.ops import cluster

OK, WARNING, ERROR = "ok", "warning", "error"
_MIN_KUBELET = (1, 30)
_MAX_SKEW_S = 30.0
_SERVICE_ACCOUNT = "system:serviceaccount:kube-system:secrets-store-csi-driver"
_RIGHTS = (
    ("", "pods", "watch", ERROR),
    ("", "events", "create", WARNING),
    (cluster.GROUP, "secretproviderclasses", "get", ERROR),
    (cluster.GROUP, "secretproviderclasses", "watch", WARNING),
    (cluster.GROUP, "secretproviderclasspodstatuses", "create", ERROR),
    (cluster.GROUP, "secretproviderclasspodstatuses", "update", ERROR),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One thing looked at.

    Attributes:
        remedy: What to do; empty if it is well.
    """

    state: str
    what: str
    remedy: str = ""


@click.command("doctor")
@click.option("--kubeconfig", default="", help="kubeconfig file.")
@click.option("--context", default="", help="Context of the kubeconfig.")
@click.option("--driver", default=settings.DEFAULT_DRIVER_NAME, help="Name of the CSI driver.")
@click.option("--service-account", default=_SERVICE_ACCOUNT, help="User the driver runs as.")
@click.option("--node", is_flag=True, help="Look at this machine as a node, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    kubeconfig: str, context: str, driver: str, service_account: str, node: bool, as_json: bool
) -> None:
    """Look whether everything is in place, and say what to do where it is not.

    Exits with 1 if something is in error.
    """
    reached = cluster.Cluster(kubeconfig, context)
    results = list(examine(reached, driver, service_account))
    if node:
        results += examine_node(settings.Settings())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(x) for x in results], indent=2))
    else:
        for result in results:
            click.echo(f"{result.state:8}{result.what}")
            if result.remedy:
                click.echo(f"{'':8}→ {result.remedy}")
    sys.exit(1 if any(x.state == ERROR for x in results) else 0)


def examine(reached: cluster.Cluster, driver: str, service_account: str) -> Iterator[Result]:
    """Look at the cluster's part."""
    checks: tuple[Callable[[], Iterator[Result]], ...] = (
        lambda: _csi_driver(reached, driver),
        lambda: _crds(reached),
        lambda: _rights(reached, service_account),
        lambda: _nodes(reached, driver),
        lambda: _clock(reached),
    )
    for check in checks:
        try:
            yield from check()
        except cluster.Refused as refusal:
            yield Result(WARNING, f"not looked at: {refusal}", "run it with the rights to read")


def _csi_driver(reached: cluster.Cluster, name: str) -> Iterator[Result]:
    try:
        spec = reached.get(f"/apis/storage.k8s.io/v1/csidrivers/{name}")["spec"]
    except cluster.Refused as refusal:
        if refusal.status != 404:
            raise
        remedy = "kubectl apply -f deploy/yaml/csidriver.yaml"
        yield Result(ERROR, f"CSIDriver {name} does not exist", remedy)
        return
    yield Result(OK, f"CSIDriver {name} exists")
    for field, wanted, state, why in (
        ("podInfoOnMount", True, ERROR, "the driver is not told which pod it serves"),
        ("attachRequired", False, ERROR, "kubelet waits for an attachment that nobody makes"),
        ("requiresRepublish", True, WARNING, "tokens are not renewed, refreshing ends with them"),
    ):
        if spec.get(field, field == "attachRequired") is not wanted:
            remedy = f"set spec.{field}: {str(wanted).lower()}; apply our CSIDriver again"
            yield Result(state, f"CSIDriver {field} is not {str(wanted).lower()}: {why}", remedy)
    if "Ephemeral" not in (spec.get("volumeLifecycleModes") or []):
        yield Result(ERROR, "CSIDriver does not allow Ephemeral volumes", "apply our CSIDriver")
    audiences = [x.get("audience", "") for x in spec.get("tokenRequests") or []]
    if not audiences:
        remedy = "list the audience of each provider that logs in with the pod's token"
        yield Result(WARNING, "CSIDriver has no tokenRequests", remedy)
    else:
        yield Result(OK, f"tokens are requested for {', '.join(x or 'the API' for x in audiences)}")


def _crds(reached: cluster.Cluster) -> Iterator[Result]:
    for name in ("secretproviderclasses", "secretproviderclasspodstatuses"):
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
        try:
            crd = reached.get(f"{path}{name}.{cluster.GROUP}")
        except cluster.Refused as refusal:
            if refusal.status != 404:
                raise
            yield Result(ERROR, f"CRD {name} does not exist", "kubectl apply -f deploy/yaml/")
            continue
        served = [x["name"] for x in crd["spec"]["versions"] if x.get("served")]
        if cluster.VERSION in served:
            yield Result(OK, f"CRD {name} serves {', '.join(served)}")
        else:
            yield Result(ERROR, f"CRD {name} does not serve v1", "apply our CRDs")


def _rights(reached: cluster.Cluster, user: str) -> Iterator[Result]:
    parts = user.split(":")
    groups = ["system:authenticated"]
    if user.startswith("system:serviceaccount:") and len(parts) == 4:
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    missing = False
    for group, resource, verb, state in _RIGHTS:
        question: dict[str, Any] = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": groups,
                "resourceAttributes": {"group": group, "resource": resource, "verb": verb},
            },
        }
        answer = reached.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", question)
        if not answer.get("status", {}).get("allowed"):
            missing = True
            yield Result(state, f"{user} may not {verb} {resource}", "apply deploy/yaml/")
    if not missing:
        yield Result(OK, f"{user} has the rights it needs")


def _nodes(reached: cluster.Cluster, driver: str) -> Iterator[Result]:
    nodes = {x["metadata"]["name"]: x for x in reached.items("/api/v1/nodes")}
    registered = {
        x["metadata"]["name"]
        for x in reached.items("/apis/storage.k8s.io/v1/csinodes")
        if driver in [y.get("name") for y in (x.get("spec") or {}).get("drivers") or []]
    }
    for name in sorted(nodes.keys() - registered):
        remedy = (
            f"look at the driver's pod there: kubectl -n kube-system get pods -o wide | grep {name}"
        )
        yield Result(ERROR, f"node {name}: the driver is not registered", remedy)
    if nodes and nodes.keys() <= registered:
        yield Result(OK, f"the driver is registered on all {len(nodes)} nodes")
    for name, node in sorted(nodes.items()):
        version = node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")
        numbers = version.removeprefix("v").split(".")[:2]
        if all(x.isdecimal() for x in numbers) and tuple(map(int, numbers)) < _MIN_KUBELET:
            yield Result(WARNING, f"node {name}: kubelet {version} is older than tested", "upgrade")


def _clock(reached: cluster.Cluster) -> Iterator[Result]:
    skew_s = reached.clock_skew_s()
    if skew_s is not None and abs(skew_s) > _MAX_SKEW_S:
        remedy = "let both keep time by NTP; tokens and certificates depend on it"
        yield Result(WARNING, f"this clock differs from the API server's by {skew_s:.0f} s", remedy)
    else:
        yield Result(OK, "clocks agree")


def examine_node(chosen: settings.Settings) -> Iterator[Result]:
    """Look at this machine as a node: sockets of providers, kernel."""
    found = False
    for directory in chosen.provider_directories:
        for path in sorted(pathlib.Path(directory).glob("*.sock")):
            found = True
            if _accepts(path):
                yield Result(OK, f"provider {path.stem} answers on {path}")
            else:
                remedy = "start the provider, or remove the file it left behind"
                yield Result(ERROR, f"nobody answers on {path}", remedy)
    if not found:
        places = " and ".join(chosen.provider_directories)
        yield Result(WARNING, f"no provider's socket in {places}", "install a provider")
    release = platform.release().split(".")
    if release[0].isdecimal() and (int(release[0]), int(release[1])) < (6, 3):
        remedy = "switch swap off, or encrypt it; noswap needs Linux 6.3"
        yield Result(WARNING, "contents of volumes may reach the swap", remedy)
    else:
        yield Result(OK, "tmpfs can be kept out of the swap")


def _accepts(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(str(path)) == 0
