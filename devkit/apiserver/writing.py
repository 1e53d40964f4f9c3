"""Create, update and patch: from a body to a stored object.

Source: apiserver `registry/generic/registry.Store` and the patch handler.
"""

from collections.abc import Callable
from typing import Any

from devkit.apiserver import (
    calls,
    errors,
    managed,
    metadata,
    objects,
    patch,
    removal,
    routes,
    store,
    strategic,
    views,
)
from devkit.apiserver.kinds import typed

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
_IMMUTABLE = "field is immutable"


def types_of_patch(*, custom: bool) -> tuple[str, ...]:
    """Return the media types of patches that a resource takes."""
    if custom:
        return (JSON_PATCH, MERGE, APPLY)
    return (JSON_PATCH, MERGE, STRATEGIC, APPLY)


class Writer:
    """Puts objects into the store by the API server's rules.

    Args:
        kept: the store.
        remover: finishes an object whose last finalizer an update takes away.
        storage_version: tells the apiVersion that a resource's objects are stored in.
    """

    def __init__(
        self,
        kept: store.Store,
        remover: removal.Remover,
        storage_version: Callable[[str], str],
    ) -> None:
        self._store = kept
        self._remover = remover
        self._storage_version = storage_version

    def create(self, call: calls.Call, body: Any) -> objects.Object:
        """Create an object; return it as stored.

        Raises: errors.StatusError: 400, 403, 404 (namespace), 409 or 422.
        """
        return self._insert(call, self._incoming(call, body))

    def _insert(
        self, call: calls.Call, obj: objects.Object, *, applied: bool = False
    ) -> objects.Object:
        meta = obj["metadata"]
        if meta.pop("resourceVersion", ""):
            raise errors.StatusError(
                500, "", "resourceVersion should not be set on objects to be created"
            )
        if call.resource.status_apart and not call.strategy.takes_status_at_creation:
            obj.pop("status", None)
        call.strategy.complete(obj)
        if not applied:
            meta.pop("managedFields", None)
            managed.track(
                call.strategy.empty, obj, _manager(call, managed.UPDATE), call.strategy.shape
            )
        metadata.fill_new(obj)
        self._admit_namespace(call, meta)
        call.strategy.prepare_create(obj)
        if call.resource.counts_generation:
            meta["generation"] = 1
        self._check(call, obj, call.strategy.validate(obj))
        if self._store.get(call.resource.storage_key, *objects.key_of(obj)) is not None:
            raise errors.already_exists(call.resource.plural, call.resource.group, meta["name"])
        if call.dry_run:
            return objects.arranged(obj)
        return self._store.put(call.resource.storage_key, objects.arranged(obj)).obj

    def update(self, call: calls.Call, body: Any) -> tuple[objects.Object, bool]:
        """Replace an object, or its status; return it as stored, and whether it is new.

        Raises: errors.StatusError: 400, 404, 409 or 422.
        """
        obj = self._incoming(call, body)
        meta = obj["metadata"]
        if not meta.get("name"):
            raise errors.bad_request("name must be provided")
        if meta["name"] != call.route.name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL "
                f"({call.route.name})"
            )
        old = self._existing(call)
        if old is None:
            if not call.resource.upserts or call.route.subresource:
                raise call.not_found()
            return self._insert(call, obj), True
        call.strategy.complete(obj)
        if not meta.get("resourceVersion") and not call.resource.overwrites:
            wrong = errors.invalid_value(
                "metadata.resourceVersion", 0, "must be specified for an update"
            )
            resource = call.resource
            raise errors.invalid(resource.plural, resource.group, call.route.name, [wrong])
        return self._replace(call, obj, old), False

    def patch(self, call: calls.Call, body: Any, media: str) -> tuple[objects.Object, bool]:
        """Patch an object by one of the patch types; return it as stored, and whether it is new.

        Raises: errors.StatusError: 400, 404, 409, 415 or 422.
        """
        old = self._existing(call)
        if media == APPLY:
            return self._apply(call, body, old)
        if old is None:
            raise call.not_found()
        before = views.presented(old.obj, call.resource)
        if media == MERGE:
            if not isinstance(body, dict):
                raise errors.bad_request("error decoding patch: a patch must be a JSON object")
            after = patch.merge(before, body)
        elif media == JSON_PATCH:
            after = patch.apply_json_patch(before, body)
        elif media == STRATEGIC and not call.resource.custom:
            after = strategic.apply(before, body, call.strategy.shape)
        else:
            raise errors.unsupported_media_type(types_of_patch(custom=call.resource.custom))
        if not isinstance(after, dict):
            raise errors.bad_request("the patched object is no JSON object")
        obj = self._incoming(call, objects.copy(after))
        if objects.name_of(obj) != call.route.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        if objects.uid_of(obj) != objects.uid_of(old.obj):
            wrong = errors.invalid_value("metadata.uid", objects.uid_of(obj), _IMMUTABLE)
            raise call.invalid(call.route.name, [wrong])
        call.strategy.complete(obj)
        return self._replace(call, obj, old), False

    def _apply(
        self, call: calls.Call, body: Any, old: store.Entry | None
    ) -> tuple[objects.Object, bool]:
        if not call.query.get("fieldManager"):
            missing = errors.required("fieldManager", "is required for apply patch")
            raise errors.invalid("PatchOptions", "meta.k8s.io", "", [missing])
        if isinstance(body, dict) and (body.get("metadata") or {}).get("managedFields"):
            raise errors.bad_request("metadata.managedFields must be nil")
        config = self._incoming(call, body)
        config["metadata"].setdefault("name", call.route.name)
        if objects.name_of(config) != call.route.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        obj = managed.apply(
            old.obj if old is not None else call.strategy.empty,
            config,
            _manager(call, managed.APPLY),
            call.strategy.shape,
            force=routes.truthy(call.query.get("force", "0")),
        )
        obj = objects.copy(obj)
        call.causes = call.strategy.decode(obj).causes
        if old is None:
            return self._insert(call, obj, applied=True), True
        call.strategy.complete(obj)
        return self._replace(call, obj, old, applied=True), False

    def _incoming(self, call: calls.Call, body: Any) -> objects.Object:
        """Turn a body into a clean object in its storage version."""
        obj = calls.decode_object(call, body)
        if call.resource.group == "events.k8s.io":
            obj = views.event_to_core(obj)
        obj.setdefault("metadata", {})
        if obj["metadata"] is None:
            obj["metadata"] = {}
        decoded = call.strategy.decode(obj)
        metadata.clean(obj["metadata"])
        if decoded.dropped:
            self._tell_dropped(call, decoded.dropped)
        call.causes = decoded.causes
        if stored := self._storage_version(call.resource.storage_key):
            obj["apiVersion"] = stored
        meta = obj["metadata"]
        if not call.resource.namespaced:
            meta.pop("namespace", None)
        elif meta.setdefault("namespace", call.route.namespace) != call.route.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        return obj

    def _tell_dropped(self, call: calls.Call, dropped: list[str]) -> None:
        told = [f'unknown field "{path}"' for path in dropped]
        if call.field_validation == "Strict":
            kind, version = call.resource.kind, call.resource.version
            raise typed.refused(kind, f"strict decoding error: {', '.join(told)}", version)
        if call.field_validation == "Warn":
            call.warnings += told

    def _existing(self, call: calls.Call) -> store.Entry | None:
        namespace = call.route.namespace if call.resource.namespaced else ""
        return self._store.get(call.resource.storage_key, namespace, call.route.name)

    def _admit_namespace(self, call: calls.Call, meta: objects.Object) -> None:
        """Refuse objects in namespaces that are absent or on their way out."""
        if not call.resource.namespaced:
            return
        namespace = meta["namespace"]
        found = self._store.get("namespaces", "", namespace)
        if found is None:
            raise errors.not_found("namespaces", "", namespace)
        if "deletionTimestamp" in found.obj["metadata"]:
            refusal = errors.forbidden(
                call.resource.plural,
                call.resource.group,
                meta.get("name", ""),
                f"unable to create new content in namespace {namespace} because it is being "
                "terminated",
            )
            assert refusal.details is not None
            refusal.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise refusal

    def _check(self, call: calls.Call, obj: objects.Object, causes: list[errors.Cause]) -> None:
        meta = obj["metadata"]
        found = metadata.validate(meta, call.strategy.name_rule) + call.causes + causes
        if found:
            raise call.invalid(meta.get("name", ""), found)

    def _replace(
        self, call: calls.Call, obj: objects.Object, old: store.Entry, *, applied: bool = False
    ) -> objects.Object:
        """Put `obj` in the place of `old`, if its preconditions hold and something differs."""
        meta, before = obj["metadata"], old.obj["metadata"]
        sent_uid = meta.get("uid")
        if sent_uid and sent_uid != before["uid"]:
            raise call.conflict(
                f"Precondition failed: UID in precondition: {sent_uid}, UID in object meta: "
                f"{before['uid']}"
            )
        version = meta.get("resourceVersion")
        if version and version != before["resourceVersion"]:
            if not version.isdigit():
                raise errors.StatusError(500, "", f'parsing "{version}": invalid syntax')
            raise call.conflict()
        obj = self._confined(call, obj, old.obj)
        meta = obj["metadata"]
        metadata.carry_over(obj, old.obj)
        if not applied:
            managed.track(old.obj, obj, _manager(call, managed.UPDATE), call.strategy.shape)
        if not call.route.subresource:
            call.strategy.prepare_update(obj, old.obj)
        if call.resource.counts_generation and _spec_differs(call, obj, old.obj):
            meta["generation"] = before.get("generation", 0) + 1
        causes = metadata.validate_update(meta, before) + call.strategy.validate(obj)
        self._check(call, obj, causes + call.strategy.validate_update(obj, old.obj))
        meta["resourceVersion"] = before["resourceVersion"]
        if obj == old.obj:
            return old.obj
        if call.dry_run:
            return objects.arranged(obj)
        return self._finish(call, objects.arranged(obj))

    def _confined(
        self, call: calls.Call, obj: objects.Object, old: objects.Object
    ) -> objects.Object:
        """Keep what this path may not change: all but the status, or the status."""
        if call.route.subresource == "status":
            confined = objects.copy(old)
            if not call.resource.custom:
                owners = confined["metadata"].get("ownerReferences")
                confined["metadata"] = obj["metadata"]
                confined["metadata"].pop("ownerReferences", None)
                if owners is not None:
                    confined["metadata"]["ownerReferences"] = owners
            confined.pop("status", None)
            if "status" in obj:
                confined["status"] = obj["status"]
            return confined
        if call.resource.status_apart:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = objects.copy(old["status"])
        return obj

    def _finish(self, call: calls.Call, obj: objects.Object) -> objects.Object:
        storage = call.resource.storage_key
        if self._remover.is_finished(storage, obj):
            # The last finalizer takes the object along: nobody sees it without.
            self._remover.remove(storage, *objects.key_of(obj))
            return obj
        return self._store.put(storage, obj).obj


def _manager(call: calls.Call, operation: str) -> managed.Manager:
    return managed.Manager(
        call.manager, operation, call.resource.api_version, call.route.subresource
    )


def _spec_differs(call: calls.Call, new: objects.Object, old: objects.Object) -> bool:
    apart = {"metadata", "apiVersion", "kind"}
    if call.resource.status_apart:
        apart.add("status")
    return {k: v for k, v in new.items() if k not in apart} != {
        k: v for k, v in old.items() if k not in apart
    }
