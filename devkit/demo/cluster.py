"""The API server as the demo uses it: requests one after the other, in a thread."""

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from devkit.apiserver import client, errors, objects
from devkit.kubelet import objects as kubelet_objects
from devkit.kubelet import tokens

P = ParamSpec("P")
T = TypeVar("T")

_STATUSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasspodstatuses"


class Cluster:
    """Talks to the API server without holding up the loop.

    Args:
        api: the client; used by one thread at a time.
    """

    def __init__(self, api: client.Client) -> None:
        self._api = api
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="cluster")

    async def _do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = functools.partial(call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def create(self, obj: objects.Object) -> objects.Object:
        """Create an object. Raises: errors.StatusError, client.Unreachable."""
        return await self._do(self._api.create, obj)

    async def get(self, obj: objects.Object) -> objects.Object | None:
        """Read an object anew, None if it is gone. Raises as `create`."""
        try:
            return await self._do(self._api.get, obj)
        except errors.StatusError as error:
            if error.code == 404:
                return None
            raise

    async def update(self, obj: objects.Object, subresource: str = "") -> objects.Object:
        """Replace an object or its subresource. Raises as `create`."""
        return await self._do(self._api.update, obj, subresource)

    async def delete(self, obj: objects.Object, grace_s: int | None = None) -> None:
        """Delete an object; one that is gone already is a success. Raises as `create`."""
        options = None if grace_s is None else {"gracePeriodSeconds": grace_s}
        try:
            await self._do(self._api.delete, obj, options)
        except errors.StatusError as error:
            if error.code != 404:
                raise

    async def pods(self) -> list[objects.Object]:
        """Return all pods. Raises as `create`."""
        items = await self._do(self._api.items, "/api/v1/pods")
        # A list names the type once, for all of its items.
        return [{"apiVersion": "v1", "kind": "Pod", **item} for item in items]

    async def bind(self, pod: objects.Object, node_name: str) -> None:
        """Put a pod on a node, as the scheduler does. Raises as `create`."""
        namespace, name = objects.key_of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node_name},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
        (await self._do(self._api.request, "POST", path, binding)).decoded()

    async def statuses(self) -> list[objects.Object]:
        """Return all SecretProviderClassPodStatus objects. Raises as `create`."""
        return await self._do(self._api.items, _STATUSES)

    async def events(self, namespace: str) -> list[objects.Object]:
        """Return all events, oldest first. Raises as `create`."""
        return await self._do(self._api.items, f"/api/v1/namespaces/{namespace}/events")

    async def mint(
        self, pod: kubelet_objects.Pod, wanted: kubelet_objects.TokenRequest
    ) -> tokens.Token:
        """Ask for a token of a pod's service account, bound to the pod; a `tokens.Mint`.

        Raises: tokens.MintFailed.
        """
        path = f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{pod.service_account}/token"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}
        body: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [wanted.audience],
                "expirationSeconds": wanted.expiration_s,
                "boundObjectRef": bound,
            },
        }
        try:
            answer = (await self._do(self._api.request, "POST", path, body)).decoded()
        except (errors.StatusError, client.Unreachable) as error:
            raise tokens.MintFailed(str(error)) from error
        ends = objects.parse_timestamp(answer["status"]["expirationTimestamp"])
        return tokens.Token(answer["status"]["token"], ends.timestamp())

    def close(self) -> None:
        """Wait for the request that runs, and close the connections."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._api.close()
