"""secretObjects to Kubernetes Secrets, from the files of a provider's answer in memory.

Read, compare, then write what differs: data, type, labels, annotations and the pod's owner in one
request that holds only for the version read. A Secret is never listed, watched or kept: what stays
in memory of one that was seen to be right is a keyed hash, its version and its owners' uids, which
spares the other volumes of this node the same look. Volumes that share a Secret take turns by its
lock; drivers of other nodes are met as conflicts. Source: docs/decisions/0006-secret-sync.md.
"""

import asyncio
import dataclasses
import random
import secrets
from collections.abc import Collection, Iterable, Mapping

from secrets_store import errors, tasks
from secrets_store import log as logs
from secrets_store.kube import client, store
from secrets_store.model import payload, pod_status, provider_class, secret, secret_objects
from secrets_store.volumes import pkcs12, secret_requests, sync_report, table

DEADLINE_S = 5.0
TRUST_S = 10.0
"""So long a look of one volume counts for the publishes of others: a storm costs one look."""
TRIES = 3
CONFLICT_PAUSE_S = 0.1

SyncReport = sync_report.SyncReport
_Result = secret_requests.Result
_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """A Secret as it was last seen right.

    Attributes:
        fingerprint: Keyed hash of what it holds.
        at_mono: Before the request that saw it.
    """

    fingerprint: bytes
    resource_version: str
    owners: frozenset[str]
    at_mono: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    """All Secrets of a class, worked out before the first is written; name → fingerprint."""

    plan: secret_objects.Plan
    fingerprints: Mapping[str, bytes]


class SecretSync:
    """Writes the Secrets of this node's volumes; one per process, on the event loop.

    Args:
        pods: Who the owners are.
        allowed_namespaces: Where Secrets may be written; None: everywhere.
    """

    def __init__(
        self,
        api: client.Client,
        threads: tasks.Threads,
        pods: store.Pods,
        *,
        allowed_namespaces: Collection[str] | None = None,
        clock: tasks.Clock | None = None,
    ) -> None:
        self._threads, self._pods = threads, pods
        self._allowed = None if allowed_namespaces is None else frozenset(allowed_namespaces)
        self._clock = clock or tasks.SystemClock()
        self._requests = secret_requests.Requests(api, self._clock)
        self._opener = pkcs12.Opener(tasks.Background())
        self._key = secrets.token_bytes(32)
        self._locks = tasks.KeyedLocks()
        self._seen: dict[str, _Seen] = {}
        self._of_class: dict[tuple[str, str], set[str]] = {}
        self._failures = sync_report.FailureLog()

    async def write(
        self,
        found: table.Volume,
        chosen: provider_class.ProviderClass,
        files: payload.Files,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> SyncReport:
        """Let the Secrets of a class say what the files say; after a publish or a change.

        Costs per Secret no request if another volume has just seen it right, else one GET and, if
        something differs, one write. To be called when the status object has been written, for
        that is what a pod without owners has its Secrets owned by.

        Args:
            files: All files of the answer that the volume shows.
            deadline_s: For all requests together.
        """
        since_mono = self._clock.mono_s() - TRUST_S
        return await self._sync(found, chosen, files, since_mono, deadline_s)

    async def verify(
        self,
        found: table.Volume,
        chosen: provider_class.ProviderClass,
        files: payload.Files,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> SyncReport:
        """Look whether the Secrets still are as wanted, and repair what is not; at a due check.

        Costs at most one GET per Secret; a look that another volume has begun since counts too.
        """
        return await self._sync(found, chosen, files, self._clock.mono_s(), deadline_s)

    async def withdraw(
        self, namespace: str, class_name: str, *, deadline_s: float = DEADLINE_S
    ) -> SyncReport:
        """Delete the Secrets of a class that was deleted, where their policy is Delete."""
        names = frozenset(self._of_class.get((namespace, class_name), ()))
        ends_mono = self._clock.mono_s() + deadline_s
        outcomes = await self._withdraw(namespace, class_name, names, ends_mono)
        return self._report(f"{namespace}/{class_name}", outcomes)

    def remember(self, namespace: str, class_name: str, names: Iterable[str]) -> None:
        """Take in which Secrets an earlier process wrote for a class, to know if one is dropped."""
        self._of_class.setdefault((namespace, class_name), set()).update(names)

    def forget(self, namespace: str, class_name: str) -> None:
        """Let go of a class that no volume uses any more; its Secrets stay as they are."""
        for name in self._of_class.pop((namespace, class_name), ()):
            self._seen.pop(f"{namespace}/{name}", None)
        self._failures.forget(f"{namespace}/{class_name}")

    async def _sync(
        self,
        found: table.Volume,
        chosen: provider_class.ProviderClass,
        files: payload.Files,
        since_mono: float,
        deadline_s: float,
    ) -> SyncReport:
        namespace = found.record.pod.namespace
        class_name = f"{namespace}/{chosen.name}"
        dropped = self._dropped(namespace, chosen)
        if not chosen.secret_objects and not dropped:
            return SyncReport()
        if self._allowed is not None and namespace not in self._allowed:
            return self._report(class_name, sync_report.not_allowed(chosen))
        # A container with certificates takes its time to open, which is not the API server's.
        opened = await self._opener.open_all(secret_objects.containers(chosen, files))
        ends_mono = self._clock.mono_s() + deadline_s
        prepared = await self._threads.run(self._prepare, chosen, files, opened)
        wanted = prepared.plan.wanted
        outcomes = [sync_report.Outcome(failure=failure) for failure in prepared.plan.failed]
        try:
            owners = await self._owners(found, ends_mono) if wanted else ()
        except secret_requests.Refused as refused:
            outcomes += [
                sync_report.refused(f"{namespace}/{name}", class_name, refused) for name in wanted
            ]
            return self._report(class_name, outcomes)
        if owners is None:
            return SyncReport(skipped="the pod is going away")
        outcomes += await asyncio.gather(
            *(
                self._one(
                    secret.Target(namespace, chosen.name, one, owners),
                    prepared.fingerprints[name],
                    since_mono,
                    ends_mono,
                )
                for name, one in wanted.items()
            )
        )
        outcomes += await self._withdraw(namespace, chosen.name, dropped, ends_mono)
        return self._report(class_name, outcomes)

    def _prepare(
        self,
        chosen: provider_class.ProviderClass,
        files: payload.Files,
        opened: secret_objects.Opened,
    ) -> _Prepared:
        plan = secret_objects.plan(chosen, files, opened)
        if plan.repeated:
            _log.debug(
                "a class names a Secret twice, the later entry counts",
                extra=logs.pairs(spc=f"{chosen.namespace}/{chosen.name}", secrets=plan.repeated),
            )
        return _Prepared(
            plan,
            {
                name: secret.fingerprint(self._key, one, chosen.name)
                for name, one in plan.wanted.items()
            },
        )

    def _dropped(self, namespace: str, chosen: provider_class.ProviderClass) -> frozenset[str]:
        """Note the names that a class has; return those that it had and has no longer.

        Such a name is kept until its Secret has been looked at.
        """
        names = secret_objects.names(chosen.secret_objects)
        before = self._of_class.get((namespace, chosen.name), set())
        if names or before:
            self._of_class[namespace, chosen.name] = before | names
        return frozenset(before - names)

    async def _owners(
        self, found: table.Volume, ends_mono: float
    ) -> tuple[secret.Owner, ...] | None:
        """Return what a volume's pod contributes as owners; None if the pod goes or has gone.

        Raises: secret_requests.Refused.
        """
        named = found.record.pod
        pod = self._pods.get(named.uid)
        if pod is None:
            # kubelet was faster than the watch, or the watch is down.
            obj = await self._threads.run(
                self._requests.pod, named.namespace, named.name, ends_mono
            )
            pod = store.Pod.from_dict(obj) if obj is not None else None
        if pod is None or pod.uid != named.uid or pod.terminating:
            return None
        return tuple(
            {"apiVersion": x.api_version, "kind": x.kind, "name": x.name, "uid": x.uid}
            for x in pod.owners
        ) or (_status_owner(found),)

    async def _one(
        self, target: secret.Target, fingerprint: bytes, since_mono: float, ends_mono: float
    ) -> sync_report.Outcome:
        """Bring one Secret to what is wanted, unless it has just been seen to be that."""
        name = str(target)
        async with self._locks.hold(name):
            # Popped: what comes of an attempt that fails is not known.
            before = self._seen.pop(name, None)
            if before is not None and before.fingerprint != fingerprint:
                before = None
            recent = before if before is not None and before.at_mono > since_mono else None
            if recent is not None and not target.owner_changes(recent.owners):
                self._seen[name] = recent
                return sync_report.Outcome(target.wanted.name, _Result.SAME)
            try:
                result, seen = await self._tries(target, fingerprint, recent, ends_mono)
            except secret_requests.Refused as refused:
                return sync_report.refused(name, f"{target.namespace}/{target.class_name}", refused)
            except errors.SecretRejected as rejected:
                return sync_report.Outcome(failure=rejected)
            self._seen[name] = seen
        repaired = before is not None and result is _Result.WRITTEN
        return sync_report.Outcome(target.wanted.name, result, repaired)

    async def _tries(
        self, target: secret.Target, fingerprint: bytes, recent: _Seen | None, ends_mono: float
    ) -> tuple[_Result, _Seen]:
        """Try against others who write the same Secret.

        Args:
            recent: The Secret as just seen, right but for its owners; a patch for that version
                needs no look.
        Raises: secret_requests.Refused, errors.SecretRejected.
        """
        attempt = 0
        while True:
            attempt, at_mono = attempt + 1, self._clock.mono_s()
            try:
                if recent is None:
                    result, obj = await self._threads.run(self._requests.bring, target, ends_mono)
                else:
                    result, obj = await self._threads.run(
                        self._requests.own,
                        target,
                        target.owner_changes(recent.owners),
                        recent.resource_version,
                        ends_mono,
                    )
            except secret_requests.Refused as refused:
                if attempt == TRIES or not refused.overtaken:
                    raise
                recent = None
                # Many nodes may be at it: they must not meet again.
                pause_s = random.uniform(0.0, CONFLICT_PAUSE_S * attempt)  # noqa: S311 - jitter
                await self._clock.wait(asyncio.Event(), pause_s)
            else:
                version = obj["metadata"]["resourceVersion"]
                return result, _Seen(fingerprint, version, secret.owner_uids(obj), at_mono)

    async def _withdraw(
        self, namespace: str, class_name: str, names: Iterable[str], ends_mono: float
    ) -> list[sync_report.Outcome]:
        """Look at Secrets that their class no longer names; delete those whose policy that is.

        All others stay for their owners, as upstream leaves them.
        """
        return await asyncio.gather(
            *(self._withdraw_one(namespace, class_name, name, ends_mono) for name in names)
        )

    async def _withdraw_one(
        self, namespace: str, class_name: str, name: str, ends_mono: float
    ) -> sync_report.Outcome:
        told = f"{namespace}/{name}"
        async with self._locks.hold(told):
            self._seen.pop(told, None)
            try:
                result = await self._threads.run(
                    self._requests.withdraw, namespace, name, class_name, ends_mono
                )
            except secret_requests.Refused as refused:
                return sync_report.refused(told, f"{namespace}/{class_name}", refused)
        self._of_class.get((namespace, class_name), set()).discard(name)
        return sync_report.Outcome(name, result if result is _Result.DELETED else None)

    def _report(self, class_name: str, outcomes: Collection[sync_report.Outcome]) -> SyncReport:
        report = SyncReport.of(outcomes)
        self._failures.tell(class_name, report.failed)
        return report


def _status_owner(found: table.Volume) -> secret.Owner:
    """Return what owns the Secrets of a pod without owners: the volume's status object.

    As long as that could not be written it is the pod: both go together.
    """
    if found.status is None:
        return pod_status.owner(found.record.pod)
    metadata = found.status["metadata"]
    return {
        "apiVersion": pod_status.API_VERSION,
        "kind": pod_status.KIND,
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
