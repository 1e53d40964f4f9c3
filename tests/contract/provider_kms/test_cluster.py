"""What needs Kubernetes: tokens of the default audience, and read windows.

Vectors 2 and 7, with the stand-in API server over HTTPS; it reviews the tokens that it has made.
"""

import datetime
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from devkit.apiserver import server as apiserver
from devkit.kms import review
from provider_kms import cluster
from tests.contract.provider_kms.stage import APP, DB, SEED, Stage, contents, versions

Code = grpc.StatusCode
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
CLOSED = {"dbPassword": "read-window-closed", "appSecret": "read-window-closed"}


@pytest.fixture
def api() -> Iterator[apiserver.APIServer]:
    with apiserver.APIServer(secrets_store=False) as server:
        for kind, name in (("Namespace", "shop"), ("ServiceAccount", "front")):
            metadata = {"name": name} | ({"namespace": "shop"} if kind != "Namespace" else {})
            server.create({"apiVersion": "v1", "kind": kind, "metadata": metadata})
        yield server


@pytest.fixture
def in_cluster(api: apiserver.APIServer, tmp_path: pathlib.Path) -> cluster.Cluster:
    (tmp_path / "token").write_text(api.admin_token)
    (tmp_path / "ca.crt").write_bytes(api.ca_pem)
    return cluster.Cluster(api.tls_url, "kms-test", tmp_path)


def pod(api: apiserver.APIServer, name: str = "front-1") -> Any:
    """Create a pod with a container that mounts the volume and one that does not."""
    mount = {"name": "secrets", "mountPath": "/secrets"}
    spec = {
        "serviceAccountName": "front",
        "nodeName": "node-1",
        "containers": [
            {"name": "app", "image": "app", "volumeMounts": [mount]},
            {"name": "side", "image": "side"},
        ],
        "volumes": [{"name": "secrets", "emptyDir": {}}],
    }
    metadata = {"name": name, "namespace": "shop"}
    return api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def started(api: apiserver.APIServer, obj: Any, pod_s: float, app_s: float, side_s: float) -> None:
    """Say how many seconds ago the pod and its containers started."""

    def ago(seconds: float) -> str:
        time = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")

    obj["status"] = {
        "phase": "Running",
        "startTime": ago(pod_s),
        "containerStatuses": [
            {
                "name": name,
                "image": name,
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": ago(seconds)}},
            }
            for name, seconds in (("app", app_s), ("side", side_s))
        ],
    }
    api.update(obj, "status")


class TestDefaultAudience:
    @pytest.fixture
    async def stage(
        self,
        stage_of: Callable[..., Any],
        kms_at: Callable[..., Any],
        api: apiserver.APIServer,
        in_cluster: cluster.Cluster,
    ) -> Stage:
        reviewer = review.ApiServer(api.tls_url, api.admin_token, api.ca_pem.decode())
        kms = kms_at(SEED.replace("      allowedAudience: kms\n", ""), reviewer=reviewer)
        stage: Stage = await stage_of(kms, in_cluster, allow_default_audience=True)
        return stage

    def parameters(self, obj: Any) -> dict[str, str | None]:
        uid = obj["metadata"]["uid"]
        return {
            "useDefaultAudience": "true",
            TOKENS: None,
            "csi.storage.k8s.io/pod.uid": uid,
        }

    async def test_2_a_token_is_made_and_logs_in(
        self, stage: Stage, api: apiserver.APIServer, logged: io.StringIO
    ) -> None:
        obj = pod(api)
        api.requests.reset()

        answer = await stage.mount(DB, **self.parameters(obj))

        assert contents(answer) == {"dbPassword": b"hunter2"}
        assert stage.asked() == ["LOGIN 200", "GET 200"]
        made = api.requests.entries(user_agent="kms-test")
        assert [(entry.verb, entry.resource, entry.subresource) for entry in made] == [
            ("create", "serviceaccounts", "token")
        ]
        assert (made[0].namespace, made[0].name) == ("shop", "front")
        assert "eyJ" not in logged.getvalue()

    async def test_none_is_made_while_a_login_is_kept(
        self, stage: Stage, api: apiserver.APIServer
    ) -> None:
        first, second = pod(api), pod(api, "front-2")
        await stage.mount(DB, **self.parameters(first))
        api.requests.reset()

        await stage.mount(DB, pod="front-2", **self.parameters(second))

        assert api.requests.count(user_agent="kms-test") == 0

    async def test_none_is_made_for_a_class_with_a_fault(
        self, stage: Stage, api: apiserver.APIServer
    ) -> None:
        await stage.refused(DB, projectId="", **self.parameters(pod(api)))

        assert api.requests.count(user_agent="kms-test") == 0

    async def test_a_right_that_is_missing_is_named(
        self, stage: Stage, api: apiserver.APIServer
    ) -> None:
        obj = pod(api)
        api.faults.add(resource="serviceaccounts/token", code=403)

        error = await stage.refused(DB, **self.parameters(obj))

        assert error.code() is Code.FAILED_PRECONDITION
        assert "TokenRequest" in error.details()
        assert "403" in error.details()
        assert stage.asked() == []

    async def test_an_api_server_that_is_away(self, stage: Stage, api: apiserver.APIServer) -> None:
        obj = pod(api)
        api.pause()

        error = await stage.refused(DB, **self.parameters(obj))

        assert error.code() is Code.UNAVAILABLE

    async def test_the_drivers_own_token_of_that_audience_is_enough(
        self, stage: Stage, api: apiserver.APIServer
    ) -> None:
        obj = pod(api)
        status = api.request(
            "POST",
            "/api/v1/namespaces/shop/serviceaccounts/front/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )["status"]
        api.requests.reset()
        tokens = f'{{"": {{"token": "{status["token"]}"}}}}'

        answer = await stage.mount(DB, **{**self.parameters(obj), TOKENS: tokens})

        assert contents(answer) == {"dbPassword": b"hunter2"}
        assert api.requests.count(user_agent="kms-test") == 0

    async def test_without_the_flag_nothing_is_asked(
        self,
        stage_of: Callable[..., Any],
        api: apiserver.APIServer,
        in_cluster: cluster.Cluster,
    ) -> None:
        stage = await stage_of(api_server=in_cluster)
        obj = pod(api)

        error = await stage.refused(DB, **self.parameters(obj))

        assert error.code() is Code.FAILED_PRECONDITION
        assert "-allow-default-audience" in error.details()
        assert api.requests.count(user_agent="kms-test") == 0

    async def test_other_spellings_of_true_are_refused(self, stage: Stage) -> None:
        error = await stage.refused(DB, useDefaultAudience="True")

        assert error.code() is Code.INVALID_ARGUMENT
        assert "useDefaultAudience" in error.details()


class TestWindow:
    @pytest.fixture
    async def stage(self, stage_of: Callable[..., Any], in_cluster: cluster.Cluster) -> Stage:
        stage: Stage = await stage_of(api_server=in_cluster)
        return stage

    @pytest.mark.parametrize(
        ("pod_s", "app_s", "side_s", "is_open"),
        [(600, 600, 600, False), (600, 20, 600, True), (600, 600, 20, False), (20, 20, 20, True)],
        ids=["closed", "consumer restarted", "another restarted", "pod is young"],
    )
    async def test_7_files_are_empty_outside(
        self,
        stage: Stage,
        api: apiserver.APIServer,
        pod_s: float,
        app_s: float,
        side_s: float,
        is_open: bool,
    ) -> None:
        obj = pod(api)
        started(api, obj, pod_s, app_s, side_s)
        uid = {"csi.storage.k8s.io/pod.uid": obj["metadata"]["uid"]}

        answer = await stage.mount(DB, APP, windowDuration="5m", **uid)

        if is_open:
            assert contents(answer) == {
                "dbPassword": b"hunter2",
                "appSecret": b"line1\nline2\n",
            }
            assert versions(answer)["dbPassword"] == "s1-/-DB_PASSWORD-3"
        else:
            assert contents(answer) == {"dbPassword": b"", "appSecret": b""}
            assert versions(answer) == CLOSED
            assert stage.asked() == []
        assert [file.mode for file in answer.files] == [420, 420]

    async def test_a_namesake_does_not_count(self, stage: Stage, api: apiserver.APIServer) -> None:
        pod(api)

        error = await stage.refused(
            DB, windowDuration="5m", **{"csi.storage.k8s.io/pod.uid": "another"}
        )

        assert error.code() is Code.FAILED_PRECONDITION
        assert "another has its name" in error.details()

    async def test_a_right_that_is_missing_is_named(
        self, stage: Stage, api: apiserver.APIServer
    ) -> None:
        api.faults.add(verb="get", resource="pods", code=403)

        error = await stage.refused(DB, windowDuration="5m")

        assert error.code() is Code.FAILED_PRECONDITION
        assert "get pods" in error.details()

    async def test_not_together_with_synced_secrets(self, stage: Stage) -> None:
        error = await stage.refused(DB, windowDuration="5m", secretObjects="[]")

        assert error.code() is Code.INVALID_ARGUMENT
        assert "windowDuration" in error.details()

    async def test_not_with_names_that_only_the_kms_knows(self, stage: Stage) -> None:
        error = await stage.refused({"keys": "*"}, windowDuration="5m")

        assert error.code() is Code.INVALID_ARGUMENT


async def test_outside_a_cluster_only_the_feature_fails(stage: Stage) -> None:
    error = await stage.refused(DB, windowDuration="5m")

    assert error.code() is Code.FAILED_PRECONDITION
    assert "no Kubernetes API server is known" in error.details()
    assert contents(await stage.mount(DB)) == {"dbPassword": b"hunter2"}
