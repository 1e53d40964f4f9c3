"""Which resources are served: the built-in table and what CRDs add to it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from devkit.apiserver import objects

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served version of a resource.

    Attributes:
        plural: name in the path, e.g. `pods`.
        storage: key the objects are stored under; the same for all versions of a resource.
        subresources: e.g. `status`; served below the object's name.
        counts_generation: changes outside metadata and status raise `metadata.generation`.
        status_apart: create and update of the object itself leave `status` alone.
        overwrites: an update without resourceVersion is allowed.
        upserts: an update of an absent object creates it.
        custom: comes from a CRD.
        deprecated: text of the Warning header of every answer.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    storage: str = ""
    counts_generation: bool = False
    status_apart: bool = False
    overwrites: bool = True
    upserts: bool = False
    custom: bool = False
    deprecated: str = ""
    list_kind: str = ""
    selectable_fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_key(self) -> str:
        return self.storage or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def kind_of_list(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @property
    def singular_name(self) -> str:
        return self.singular or self.kind.lower()


def _cluster(group: str, version: str, plural: str, kind: str, *short: str) -> Resource:
    return Resource(group, version, plural, kind, namespaced=False, short_names=short)


def _workload(plural: str, kind: str, *short: str) -> Resource:
    return Resource(
        "apps",
        "v1",
        plural,
        kind,
        short_names=short,
        categories=("all",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
    )


def _posted(group: str, plural: str, kind: str, *, namespaced: bool = False) -> Resource:
    """A resource that is only an answer to a POST and never stored."""
    return Resource(group, "v1", plural, kind, namespaced=namespaced, verbs=("create",))


BUILT_IN: tuple[Resource, ...] = (
    Resource(
        "",
        "v1",
        "pods",
        "Pod",
        short_names=("po",),
        categories=("all",),
        subresources=("status", "eviction", "binding"),
        counts_generation=True,
        status_apart=True,
    ),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",)),
    Resource("", "v1", "events", "Event", short_names=("ev",), upserts=True),
    Resource(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        short_names=("ev",),
        storage="events",
        upserts=True,
    ),
    Resource(
        "",
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        short_names=("sa",),
        subresources=("token",),
    ),
    Resource(
        "",
        "v1",
        "namespaces",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        subresources=("status", "finalize"),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        status_apart=True,
    ),
    Resource(
        "",
        "v1",
        "nodes",
        "Node",
        namespaced=False,
        short_names=("no",),
        subresources=("status",),
        status_apart=True,
    ),
    Resource(
        "",
        "v1",
        "services",
        "Service",
        short_names=("svc",),
        categories=("all",),
        subresources=("status",),
        status_apart=True,
    ),
    Resource("", "v1", "endpoints", "Endpoints", short_names=("ep",)),
    Resource(
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        short_names=("pvc",),
        subresources=("status",),
        status_apart=True,
    ),
    Resource("", "v1", "resourcequotas", "ResourceQuota", short_names=("quota",)),
    Resource("", "v1", "limitranges", "LimitRange", short_names=("limits",)),
    _workload("deployments", "Deployment", "deploy"),
    _workload("replicasets", "ReplicaSet", "rs"),
    _workload("daemonsets", "DaemonSet", "ds"),
    _workload("statefulsets", "StatefulSet", "sts"),
    Resource("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Resource(
        "batch",
        "v1",
        "jobs",
        "Job",
        categories=("all",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
    ),
    Resource(
        "batch",
        "v1",
        "cronjobs",
        "CronJob",
        short_names=("cj",),
        categories=("all",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
    ),
    _cluster("storage.k8s.io", "v1", "csidrivers", "CSIDriver"),
    _cluster("storage.k8s.io", "v1", "csinodes", "CSINode"),
    _cluster("storage.k8s.io", "v1", "storageclasses", "StorageClass", "sc"),
    _cluster("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc"),
    _cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    _cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
        overwrites=False,
    ),
    Resource(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        short_names=("pdb",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
        overwrites=False,
    ),
    Resource(
        "networking.k8s.io",
        "v1",
        "networkpolicies",
        "NetworkPolicy",
        short_names=("netpol",),
        counts_generation=True,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        namespaced=False,
        categories=("api-extensions",),
        subresources=("status",),
        counts_generation=True,
        status_apart=True,
        overwrites=False,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        namespaced=False,
        categories=("api-extensions",),
        counts_generation=True,
        overwrites=False,
    ),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", overwrites=False, upserts=True),
    _posted("authentication.k8s.io", "tokenreviews", "TokenReview"),
    _posted("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    _posted("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    _posted("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _posted("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _posted(
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        namespaced=True,
    ),
)


@dataclass(slots=True)
class Table:
    """All resources served now. Owned by the server's loop thread."""

    _by_path: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    _by_kind: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    _versions: set[tuple[str, str]] = field(default_factory=set)
    # What is derived from the table (discovery, OpenAPI) is rebuilt when this number moved.
    revision: int = 0

    @classmethod
    def with_built_ins(cls) -> "Table":
        table = cls()
        table.replace((), BUILT_IN)
        return table

    def replace(self, old: Iterable[Resource], new: Iterable[Resource]) -> None:
        """Stop serving `old`, start serving `new`."""
        for item in old:
            self._by_path.pop((item.group, item.version, item.plural), None)
            self._by_kind.pop((item.group, item.version, item.kind), None)
        for item in new:
            self._by_path[item.group, item.version, item.plural] = item
            self._by_kind[item.group, item.version, item.kind] = item
        self._versions = {(item.group, item.version) for item in self._by_path.values()}
        self.revision += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """Find a resource by an object's apiVersion and kind."""
        group = objects.group_of(api_version)
        version = api_version.rpartition("/")[2]
        return self._by_kind.get((group, version, kind))

    def any_of_kind(self, group: str, kind: str) -> Resource | None:
        """Find a resource whatever its version; owner references may name an old one."""
        for (g, _, k), resource in self._by_kind.items():
            if g == group and k == kind:
                return resource
        return None

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_path.values())

    def serves(self, group: str, version: str) -> bool:
        """Tell whether there is any resource of this group and version."""
        return (group, version) in self._versions

    def groups(self) -> dict[str, list[str]]:
        """Return group → versions, the preferred version first."""
        found: dict[str, list[str]] = {}
        for item in self._by_path.values():
            versions = found.setdefault(item.group, [])
            if item.version not in versions:
                versions.append(item.version)
        return found


def path(table: Table, api_version: str, kind: str, name: str = "", namespace: str = "") -> str:
    """Return the path of an object, or of a collection if `name` is empty.

    Args:
        table: the served resources.
        api_version: of the kind.
        kind: of the object.
        name: empty for the collection.
        namespace: left out for cluster-wide kinds; empty means all namespaces.
    Raises: LookupError: the kind is not served.
    """
    resource = table.of_kind(api_version, kind)
    if resource is None:
        raise LookupError(f"{api_version} {kind} is not served")
    root = f"/apis/{api_version}" if resource.group else f"/api/{api_version}"
    if resource.namespaced and namespace:
        root += f"/namespaces/{namespace}"
    return f"{root}/{resource.plural}" + (f"/{name}" if name else "")
