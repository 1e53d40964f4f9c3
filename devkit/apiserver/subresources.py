"""POSTs below an object: tokens of service accounts, eviction and binding of pods.

Source: registry/core/serviceaccount/storage/token.go, registry/core/pod/storage.
"""

import datetime
from typing import Any

from devkit.apiserver import calls, errors, objects, removal, store, tokens
from devkit.apiserver.kinds import builtin_types, typed


def _success() -> objects.Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Subresources:
    """Answers POSTs that act on a stored object."""

    def __init__(self, kept: store.Store, remover: removal.Remover, issuer: tokens.Issuer) -> None:
        self._store = kept
        self._remover = remover
        self._issuer = issuer

    def token(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Answer a TokenRequest with a signed token."""
        request = _decoded("authentication.k8s.io/v1", "TokenRequest", body)
        account = self._named(call)
        spec = request.setdefault("spec", {})
        audiences = spec.get("audiences") or [self._issuer.url]
        lifetime_s = spec.get("expirationSeconds") or tokens.DEFAULT_S
        causes = []
        if lifetime_s < tokens.SHORTEST_S:
            why = "may not specify a duration less than 10 minutes"
            causes.append(errors.invalid_value("spec.expirationSeconds", lifetime_s, why))
        if lifetime_s > tokens.LONGEST_S:
            why = "may not specify a duration larger than 2^32 seconds"
            causes.append(errors.invalid_value("spec.expirationSeconds", lifetime_s, why))
        if causes:
            raise errors.invalid("TokenRequest", "authentication.k8s.io", "", causes)
        pod = self._bound_pod(account, spec.get("boundObjectRef"))
        token, expires_s = self._issuer.issue(
            account, audiences, lifetime_s, pod, self._node_of(pod)
        )
        ends = datetime.datetime.fromtimestamp(expires_s, datetime.UTC)
        request["metadata"] = {
            "name": objects.name_of(account),
            "namespace": objects.namespace_of(account),
            "uid": objects.uid_of(account),
            "creationTimestamp": objects.timestamp(),
        }
        request["spec"] = {
            "audiences": audiences,
            "expirationSeconds": lifetime_s,
            "boundObjectRef": spec.get("boundObjectRef"),
        }
        request["status"] = {"token": token, "expirationTimestamp": objects.timestamp(ends)}
        return 201, request

    def _node_of(self, pod: objects.Object | None) -> dict[str, str]:
        name = ((pod or {}).get("spec") or {}).get("nodeName")
        if not name:
            return {}
        entry = self._store.get("nodes", "", name)
        return {"name": name} | ({"uid": objects.uid_of(entry.obj)} if entry else {})

    def _bound_pod(
        self, account: objects.Object, reference: objects.Object | None
    ) -> objects.Object | None:
        """Return the pod a token shall be bound to. Raises: errors.StatusError: 400, 404 or 409."""
        if not reference:
            return None
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod"):
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{objects.name_of(account)}" to object '
                f"reference of kind {reference.get('kind')}"
            )
        namespace, name = objects.namespace_of(account), reference.get("name") or ""
        entry = self._store.get("pods", namespace, name)
        if entry is None:
            raise errors.not_found("pods", "", name)
        user = (entry.obj.get("spec") or {}).get("serviceAccountName") or "default"
        if user != objects.name_of(account):
            raise errors.bad_request(
                f'cannot bind token for serviceaccount "{objects.name_of(account)}" to pod running '
                f'with different serviceaccount "{user}"'
            )
        uid = reference.get("uid")
        if uid and uid != objects.uid_of(entry.obj):
            raise errors.conflict(
                "pods",
                "",
                name,
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated",
            )
        return entry.obj

    def evict(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Delete a pod as an Eviction asks; disruption budgets are not counted."""
        eviction = _decoded("policy/v1", "Eviction", body)
        if (objects.name_of(eviction) or call.route.name) != call.route.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        self._named(call)
        options = removal.read_options(call, eviction.get("deleteOptions") or {})
        self._remover.delete(call, options)
        return 201, _success()

    def bind(self, call: calls.Call, body: Any) -> tuple[int, objects.Object]:
        """Put a pod on a node, as the scheduler does."""
        binding = _decoded("v1", "Binding", body)
        pod = objects.copy(self._named(call))
        node = (binding.get("target") or {}).get("name") or ""
        if current := pod["spec"].get("nodeName"):
            raise call.conflict(
                f'pod {objects.name_of(pod)} is already assigned to node "{current}"'
            )
        pod["spec"]["nodeName"] = node
        pod.setdefault("status", {}).setdefault("conditions", []).append(
            {
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": objects.timestamp(),
            }
        )
        if not call.dry_run:
            self._store.put("pods", pod)
        return 201, _success()

    def _named(self, call: calls.Call) -> objects.Object:
        entry = self._store.get(call.resource.storage_key, call.route.namespace, call.route.name)
        if entry is None:
            raise call.not_found()
        return entry.obj


def _decoded(api_version: str, kind: str, body: Any) -> objects.Object:
    if not isinstance(body, dict):
        raise typed.refused(kind, "a JSON object is needed")
    sent = body.get("kind") or kind
    if sent != kind:
        raise errors.bad_request(f"a {kind} is needed here, not a {sent}")
    obj = objects.copy(body) | {"kind": kind, "apiVersion": api_version}
    typed.decode(obj, builtin_types.of_kind(api_version, kind), kind)
    return obj
