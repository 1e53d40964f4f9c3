"""The requests that bring one Secret to what is wanted; blocking, for the threads of the API.

Read, compare, write what differs, each once: who tries again and when is for ``sync`` to say.
"""

import enum
from collections.abc import Mapping
from typing import Any

from secrets_store import errors, tasks
from secrets_store.kube import client, paths
from secrets_store.model import provider_class, secret, secret_objects

BASE_ROLE, SYNC_ROLE = "secretproviderclasses-role", "secretprovidersyncing-role"

Json = dict[str, Any]


class Result(enum.Enum):
    """What was done to a Secret."""

    SAME = enum.auto()
    OWNERS = enum.auto()
    """It was right, but for an owner."""
    WRITTEN = enum.auto()
    DELETED = enum.auto()


class Refused(Exception):
    """A request failed.

    Attributes:
        verb, resource: The right that it takes.
        error: What the API server said, or why it said nothing.
    """

    def __init__(self, verb: str, error: errors.ApiError, *, resource: str = "secrets") -> None:
        super().__init__(verb, resource, error)
        self.verb, self.resource, self.error = verb, resource, error

    @property
    def overtaken(self) -> bool:
        """True if somebody else has written or deleted the Secret since it was read."""
        return isinstance(self.error, errors.Conflict | errors.AlreadyExists) or (
            isinstance(self.error, errors.NotFound) and self.verb == "patch"
        )

    @property
    def reason(self) -> str:
        """What could not be done and why; of a right that is missing also where it comes from."""
        told = f"failed to {self.verb} {self.resource}: {self.error}"
        if is_denial(self.error):
            role = SYNC_ROLE if self.resource == "secrets" else BASE_ROLE
            told += f" (the right to {self.verb} {self.resource} comes with ClusterRole {role})"
        return told


def is_denial(error: errors.ApiError) -> bool:
    """Tell whether a right is missing; admission, a quota say, refuses with the same status.

    Source: Kubernetes' words of an authorizer's refusal, ``User "…" cannot VERB resource …``.
    """
    return error.status == 403 and " cannot " in error.message


class Requests:
    """Requests about Secrets, each within what is left until ``ends_mono``."""

    def __init__(self, api: client.Client, clock: tasks.Clock) -> None:
        self._api, self._clock = api, clock

    def pod(self, namespace: str, name: str, ends_mono: float) -> Json | None:
        """Return a pod's metadata, None if there is no such pod. Raises: Refused."""
        try:
            return self._api.get(
                paths.pods(namespace, name),
                accept=client.METADATA,
                deadline_s=self._left_s(ends_mono),
            )
        except errors.NotFound:
            return None
        except errors.ApiError as error:
            raise Refused("get", error, resource="pods") from error

    def bring(self, target: secret.Target, ends_mono: float) -> tuple[Result, Json]:
        """Read a Secret and write what differs: one request if it is right, else two.

        The read comes first because most Secrets are there: every pod of a workload but the first
        finds it, on whichever node. The body of a create that is refused would have been encrypted,
        admitted and audited for nothing.

        Returns: What was done, and the Secret as it is now.
        Raises: Refused; errors.SecretRejected: the Secret must not or cannot be written.
        """
        verb, path = "get", paths.secrets(target.namespace, target.wanted.name)
        try:
            existing = self._find(path, ends_mono)
            if existing is None:
                verb = "create"
                return Result.WRITTEN, self._create(target, ends_mono)
            self._check_claim(existing, target, ends_mono)
            patch = secret.difference(existing, target)
            if patch is None:
                return Result.SAME, existing
            verb = "patch"
            result = Result.OWNERS if _only_owners(patch) else Result.WRITTEN
            return result, self._patch(path, patch, ends_mono)
        except errors.ApiError as error:
            raise Refused(verb, error) from error

    def own(
        self,
        target: secret.Target,
        changes: list[dict[str, str]],
        resource_version: str,
        ends_mono: float,
    ) -> tuple[Result, Json]:
        """Change the owners of a Secret that is right in this version: one request.

        Raises: Refused.
        """
        path = paths.secrets(target.namespace, target.wanted.name)
        metadata = {"resourceVersion": resource_version, "ownerReferences": changes}
        try:
            return Result.OWNERS, self._patch(path, {"metadata": metadata}, ends_mono)
        except errors.ApiError as error:
            raise Refused("patch", error) from error

    def withdraw(self, namespace: str, name: str, class_name: str, ends_mono: float) -> Result:
        """Delete a Secret of a class, if that is its policy and it has not been written since.

        Raises: Refused.
        """
        verb, path = "get", paths.secrets(namespace, name)
        try:
            existing = self._find(path, ends_mono)
            if existing is None or not secret.deletable(existing, class_name):
                return Result.SAME
            verb, metadata = "delete", existing["metadata"]
            self._api.delete(
                path,
                uid=metadata["uid"],
                resource_version=metadata["resourceVersion"],
                deadline_s=self._left_s(ends_mono),
            )
        except errors.NotFound:
            return Result.SAME
        except errors.ApiError as error:
            raise Refused(verb, error) from error
        return Result.DELETED

    def _find(self, path: str, ends_mono: float) -> Json | None:
        try:
            return self._api.get(path, deadline_s=self._left_s(ends_mono))
        except errors.NotFound:
            return None

    def _create(self, target: secret.Target, ends_mono: float) -> Json:
        return self._api.create(
            paths.secrets(target.namespace),
            secret.create(target),
            deadline_s=self._left_s(ends_mono),
        )

    def _patch(self, path: str, patch: Json, ends_mono: float) -> Json:
        return self._api.patch(path, patch, kind="strategic", deadline_s=self._left_s(ends_mono))

    def _check_claim(
        self, existing: secret.SecretDict, target: secret.Target, ends_mono: float
    ) -> None:
        """Let a Secret be of one class only.

        A claim ends with the class: one that was renamed or no longer names the Secret has none.

        Raises: errors.SecretForeign, Refused.
        """
        other = secret.claimant(existing, target)
        if not other:
            return
        try:
            obj = self._api.get(
                paths.classes(target.namespace, other), deadline_s=self._left_s(ends_mono)
            )
        except (errors.NotFound, errors.Rejected):
            return
        except errors.ApiError as error:
            raise Refused("get", error, resource="secretproviderclasses") from error
        claimant = provider_class.ProviderClass.from_dict(obj)
        if target.wanted.name in secret_objects.names(claimant.secret_objects):
            raise target.foreign(
                f"SecretProviderClass {other} writes a Secret of this name, and only one class may"
            )

    def _left_s(self, ends_mono: float) -> float:
        left_s = ends_mono - self._clock.mono_s()
        if left_s <= 0:
            raise errors.Unavailable("not done in time", reason="Timeout")
        return left_s


def _only_owners(patch: Mapping[str, Any]) -> bool:
    return set(patch) == {"metadata"} and set(patch["metadata"]) == {
        "resourceVersion",
        "ownerReferences",
    }
