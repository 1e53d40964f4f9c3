"""Everything the server knows of the resources it serves: table, rules, columns, schemas."""

from devkit.apiserver import crds, objects, resources, store, tables
from devkit.apiserver.kinds import (
    access,
    builtin_types,
    columns,
    csidriver,
    definition,
    event,
    namespace,
    pod,
    secret,
    strategy,
    workload,
)

CRD_STORAGE = "customresourcedefinitions.apiextensions.k8s.io"
_STRATEGIES: dict[str, type[strategy.Strategy]] = {
    "pods": pod.Pod,
    "secrets": secret.Secret,
    "configmaps": secret.ConfigMap,
    "namespaces": namespace.Namespace,
    "nodes": namespace.Node,
    "events": event.Event,
    "csidrivers.storage.k8s.io": csidriver.CSIDriver,
    "roles.rbac.authorization.k8s.io": access.Role,
    "clusterroles.rbac.authorization.k8s.io": access.Role,
    "rolebindings.rbac.authorization.k8s.io": access.Binding,
    "clusterrolebindings.rbac.authorization.k8s.io": access.Binding,
    "deployments.apps": workload.Workload,
    "replicasets.apps": workload.Workload,
    "daemonsets.apps": workload.Workload,
    "statefulsets.apps": workload.Workload,
    "jobs.batch": workload.Job,
    CRD_STORAGE: definition.CustomResourceDefinition,
}


class Catalog:
    """The served resources; follows the CRDs in the store."""

    def __init__(self, kept: store.Store) -> None:
        self._store = kept
        self.table = resources.Table.with_built_ins()
        self._definitions: dict[str, crds.Definition] = {}
        self._built_in: dict[str, strategy.Strategy] = {}
        kept.listen(CRD_STORAGE, self._on_crd)

    def strategy(self, resource: resources.Resource) -> strategy.Strategy:
        if resource.custom:
            return self._definitions[resource.storage_key].strategies[resource.version]
        # Events have two forms, stored and checked in the core one.
        key = resource.storage_key
        found = self._built_in.get(key)
        if found is None:
            made = _STRATEGIES.get(key, strategy.Strategy)
            api_version = "v1" if key == "events" else resource.api_version
            found = made(resource.kind, builtin_types.of_kind(api_version, resource.kind))
            self._built_in[key] = found
        return found

    def columns(self, resource: resources.Resource) -> list[tables.Column]:
        if resource.custom:
            definitions = self._definitions[resource.storage_key].columns[resource.version]
            return tables.custom_columns(definitions)
        return columns.of(resource.storage_key)

    def storage_version(self, storage: str) -> str:
        """Return the apiVersion a custom resource is stored in, empty for built-in ones."""
        found = self._definitions.get(storage)
        return found.storage_api_version if found else ""

    def schema(self, resource: resources.Resource) -> objects.Object:
        """Return the OpenAPI schema of a custom resource, empty for built-in ones."""
        found = self._definitions.get(resource.storage_key)
        return found.schemas[resource.version] if found else {}

    def _on_crd(self, change: store.Change) -> None:
        name = change.key[1]
        before = self._definitions.pop(name, None)
        after = None
        if change.new is not None:
            after = self._definitions[name] = crds.define(change.new.obj)
        self.table.replace(before.served if before else (), after.served if after else ())
        if after is None:
            # The real server holds the CRD by a finalizer until its objects are gone.
            for entry in self._store.entries(name):
                self._store.remove(
                    name, objects.namespace_of(entry.obj), objects.name_of(entry.obj)
                )
