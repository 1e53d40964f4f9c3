"""SecretProviderClassPodStatus: written only when it differs from what is there."""

from typing import Any

from secrets_store import errors, tasks
from secrets_store.kube import client, paths, store
from secrets_store.model import pod_status
from secrets_store.volumes import table

CONFLICT_TRIES = 3


class StatusWriter:
    """Writes the status objects of this node's volumes.

    Args:
        node: The node's name.
    """

    def __init__(
        self, api: client.Client, threads: tasks.Threads, watch: store.Statuses, *, node: str
    ) -> None:
        self._api, self._threads, self._watch, self._node = api, threads, watch, node
        # Upstream's CRD prunes conditions: once that is seen, none are sent.
        self._conditions = True

    async def write(self, found: table.Volume, *, first: bool, deadline_s: float) -> None:
        """Let the status object say what the record says.

        Costs no request if it said so when last written and nobody has touched it since, one if
        it is new.

        Args:
            first: The object is most likely not there yet.
        Raises: errors.ApiError.
        """
        known = found.record
        wanted = pod_status.build(
            object_name=known.status_name,
            pod=known.pod,
            class_name=known.class_name,
            target_path=known.target_path,
            objects=known.objects,
            node=self._node,
            condition=found.condition if self._conditions else None,
        )
        if self._current(found.status, wanted):
            return
        found.status = await self._threads.run(self._put, wanted, first, deadline_s)
        kept = found.status.get("status") or {}
        if "conditions" in wanted["status"] and "conditions" not in kept:
            self._conditions = False

    def _current(self, written: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
        if written is None or pod_status.merge(written, wanted) is not None:
            return False
        if not self._watch.connected:
            # Nobody could have told of a change; our own word has to do.
            return True
        metadata = written["metadata"]
        seen = self._watch.get(metadata["namespace"], metadata["name"])
        return seen is not None and seen.resource_version == metadata["resourceVersion"]

    def _put(self, wanted: dict[str, Any], first: bool, deadline_s: float) -> dict[str, Any]:
        metadata = wanted["metadata"]
        all_of_namespace = paths.pod_statuses(metadata["namespace"])
        one = paths.pod_statuses(metadata["namespace"], metadata["name"])
        new, failure = first, errors.ApiError("no attempt was made")
        for _ in range(CONFLICT_TRIES):
            try:
                if new:
                    return _slim(self._api.create(all_of_namespace, wanted, deadline_s=deadline_s))
                existing = self._api.get(one, deadline_s=deadline_s)
                merged = pod_status.merge(existing, wanted)
                if merged is None:
                    return _slim(existing)
                return _slim(self._api.update(one, merged, deadline_s=deadline_s))
            except errors.NotFound as error:
                if new:
                    # The namespace or the CRD is missing: no object can be made there.
                    raise
                new, failure = True, error
            except errors.AlreadyExists as error:
                new, failure = False, error
            except errors.Conflict as error:
                failure = error
        raise failure


def _slim(obj: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is large and never compared."""
    obj["metadata"].pop("managedFields", None)
    return obj
