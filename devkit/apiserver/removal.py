"""Delete and deletecollection: preconditions, finalizers, grace, propagation.

Source: apiserver `registry/generic/registry.Store.Delete`, `rest.BeforeDelete`.
"""

import dataclasses
import datetime
from dataclasses import dataclass
from typing import Any

from devkit.apiserver import calls, errors, objects, store
from devkit.apiserver.kinds import pod

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Options:
    """DeleteOptions; None means not given."""

    grace_s: int | None = None
    uid: str = ""
    resource_version: str = ""
    propagation: str = ""
    dry_run: bool = False


def read_options(call: calls.Call, body: Any) -> Options:
    """Read DeleteOptions from the body, or from the query if there is none.

    Raises: errors.StatusError: 400 or 422.
    """
    if body is None:
        body = {}
        if "gracePeriodSeconds" in call.query:
            grace = call.query["gracePeriodSeconds"]
            if not grace.lstrip("-").isdigit():
                raise errors.bad_request(f'invalid gracePeriodSeconds: "{grace}"')
            body["gracePeriodSeconds"] = int(grace)
        for name in ("propagationPolicy", "orphanDependents"):
            if name in call.query:
                body[name] = call.query[name]
    if not isinstance(body, dict):
        raise errors.bad_request("the body of a delete must be DeleteOptions")
    conditions = body.get("preconditions") or {}
    propagation = body.get("propagationPolicy") or ""
    if propagation not in ("", "Foreground", "Background", "Orphan"):
        raise errors.invalid(
            "DeleteOptions",
            "meta.k8s.io",
            "",
            [
                errors.not_supported(
                    "propagationPolicy", propagation, ["Foreground", "Background", "Orphan", "nil"]
                )
            ],
        )
    if body.get("orphanDependents") in (True, "true"):
        propagation = "Orphan"
    return Options(
        body.get("gracePeriodSeconds"),
        str(conditions.get("uid") or ""),
        str(conditions.get("resourceVersion") or ""),
        propagation,
        call.dry_run or bool(body.get("dryRun")),
    )


class Remover:
    """Takes objects out of the store, at once or when what holds them lets go."""

    def __init__(self, kept: store.Store) -> None:
        self._store = kept

    def delete(self, call: calls.Call, options: Options) -> objects.Object:
        """Delete the object named in the call; return the answer's body.

        That is the object while it lingers, and a Status (for pods and namespaces the last state)
        when it is gone. Raises: errors.StatusError: 404 or 409.
        """
        namespace = call.route.namespace if call.resource.namespaced else ""
        entry = self._store.get(call.resource.storage_key, namespace, call.route.name)
        if entry is None:
            raise call.not_found()
        self._check_preconditions(call, entry.obj, options)
        if not options.propagation and call.strategy.default_propagation:
            options = dataclasses.replace(options, propagation=call.strategy.default_propagation)
        lingering = self.begin(call.resource.storage_key, entry, options)
        if lingering is not None:
            return lingering
        if call.resource.plural == "pods":
            return _last_state(entry.obj)
        details: objects.Object = {"name": call.route.name}
        if call.resource.group:
            details["group"] = call.resource.group
        details |= {"kind": call.resource.plural, "uid": objects.uid_of(entry.obj)}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }

    def begin(self, storage: str, entry: store.Entry, options: Options) -> objects.Object | None:
        """Start a deletion; return the object if it stays for now, None if it is gone."""
        obj = objects.copy(entry.obj)
        meta = obj["metadata"]
        self._set_propagation(meta, options.propagation)
        grace = pod.grace_period_s(obj, options.grace_s) if storage == "pods" else 0
        held = bool(meta.get("finalizers")) or (storage == "namespaces" and _has_finalizer(obj))
        if not held and grace == 0:
            if not options.dry_run:
                self._store.remove(storage, *objects.key_of(obj))
            return None
        if "deletionTimestamp" not in meta:
            when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=grace)
            meta["deletionTimestamp"] = objects.timestamp(when)
            meta["deletionGracePeriodSeconds"] = grace
            if "generation" in meta:
                meta["generation"] += 1
        elif grace < meta.get("deletionGracePeriodSeconds", 0):
            start = objects.parse_timestamp(meta["deletionTimestamp"]) - datetime.timedelta(
                seconds=meta["deletionGracePeriodSeconds"]
            )
            meta["deletionTimestamp"] = objects.timestamp(start + datetime.timedelta(seconds=grace))
            meta["deletionGracePeriodSeconds"] = grace
        if storage == "namespaces":
            obj.setdefault("status", {})["phase"] = "Terminating"
        if obj == entry.obj or options.dry_run:
            return obj
        return self._store.put(storage, obj).obj

    def is_finished(self, storage: str, obj: objects.Object) -> bool:
        """Tell whether nothing holds an object that is being deleted any longer."""
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta or meta.get("finalizers"):
            return False
        if storage == "namespaces":
            return not _has_finalizer(obj)
        return not meta.get("deletionGracePeriodSeconds")

    def remove(self, storage: str, namespace: str, name: str) -> store.Entry:
        """Remove an object that is there, whatever holds it."""
        return self._store.remove(storage, namespace, name)

    def _check_preconditions(self, call: calls.Call, obj: objects.Object, options: Options) -> None:
        meta = obj["metadata"]
        for asked, stored, what in (
            (options.uid, meta["uid"], "UID"),
            (options.resource_version, meta["resourceVersion"], "ResourceVersion"),
        ):
            if asked and asked != stored:
                raise errors.conflict(
                    call.resource.kind,
                    call.resource.group,
                    call.route.name,
                    f"the {what} in the precondition ({asked}) does not match the {what} in "
                    f"record ({stored})",
                )

    def _set_propagation(self, meta: objects.Object, propagation: str) -> None:
        if not propagation:
            return
        held = [item for item in meta.get("finalizers", []) if item not in (FOREGROUND, ORPHAN)]
        if propagation == "Foreground":
            held.append(FOREGROUND)
        elif propagation == "Orphan":
            held.append(ORPHAN)
        if held:
            meta["finalizers"] = held
        else:
            meta.pop("finalizers", None)


def _last_state(pod_gone: objects.Object) -> objects.Object:
    """Return a pod that went at once as its deletion tells it, marked as being deleted."""
    last = objects.copy(pod_gone)
    meta = last["metadata"]
    if "deletionTimestamp" not in meta:
        meta["generation"] += 1
    meta["deletionTimestamp"] = objects.timestamp()
    meta["deletionGracePeriodSeconds"] = 0
    return last


def _has_finalizer(namespace: objects.Object) -> bool:
    return bool((namespace.get("spec") or {}).get("finalizers"))
