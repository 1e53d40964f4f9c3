"""Custom resources: from CustomResourceDefinitions to served resources with their strategies."""

from dataclasses import dataclass, field

from devkit.apiserver import errors, objects, resources, schema
from devkit.apiserver.kinds import builtin_types, strategy, typed

_OBJECT_META = "meta.v1.ObjectMeta"
_GROUP = "secrets-store.csi.x-k8s.io"


class Custom(strategy.Strategy):
    """The rules of one version of a custom resource.

    Args:
        kind: for messages.
        version_schema: structural schema of the version asked for; empty keeps everything.
        storage_schema: that of the stored version, by which the object is pruned too.
    """

    def __init__(
        self,
        kind: str,
        version_schema: schema.Schema,
        storage_schema: schema.Schema,
    ) -> None:
        # Metadata merges by its own rules, whatever the CRD says of it.
        fields = {**version_schema.get("properties", {})}
        fields["metadata"] = builtin_types.of_type(_OBJECT_META)
        super().__init__(kind, {**version_schema, "properties": fields} if version_schema else {})
        # A schema's defaults are values of their own here, not parts that are always there.
        self.empty = {}
        self._storage_schema = storage_schema

    def decode(self, obj: objects.Object) -> strategy.Decoded:
        meta = obj.setdefault("metadata", {})
        decoded = strategy.Decoded(
            *typed.decode(meta, builtin_types.of_type(_OBJECT_META), self.kind, "metadata")
        )
        if self.shape:
            decoded.dropped += schema.prune(obj, self.shape)
        return decoded

    def complete(self, obj: objects.Object) -> None:
        schema.apply_defaults(obj, self.shape)
        if self._storage_schema:
            # What the stored version does not know does not outlive the way into the store.
            schema.prune(obj, self._storage_schema)

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        return schema.validate(_without_metadata(obj), self.shape)


def _without_metadata(obj: objects.Object) -> objects.Object:
    # The schema may say no more of metadata than that it is an object; its own rules hold for it.
    return {key: value for key, value in obj.items() if key != "metadata"}


@dataclass(slots=True)
class Definition:
    """What one CRD serves."""

    served: list[resources.Resource] = field(default_factory=list)
    strategies: dict[str, Custom] = field(default_factory=dict)
    columns: dict[str, list[objects.Object]] = field(default_factory=dict)
    schemas: dict[str, schema.Schema] = field(default_factory=dict)
    storage_api_version: str = ""


def define(crd: objects.Object) -> Definition:
    """Read a validated CustomResourceDefinition; only its served versions appear in the answer."""
    spec = crd["spec"]
    names, group = spec["names"], spec["group"]
    found = Definition()
    schemas = {
        version["name"]: (version.get("schema") or {}).get("openAPIV3Schema") or {}
        for version in spec["versions"]
    }
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    found.storage_api_version = f"{group}/{stored}"
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        name = version["name"]
        has_status = "status" in (version.get("subresources") or {})
        found.served.append(
            resources.Resource(
                group,
                name,
                names["plural"],
                names["kind"],
                namespaced=spec.get("scope") != "Cluster",
                singular=names.get("singular") or names["kind"].lower(),
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=("status",) if has_status else (),
                counts_generation=True,
                status_apart=has_status,
                overwrites=False,
                custom=True,
                deprecated=_deprecation(version, spec),
                list_kind=names.get("listKind") or "",
                selectable_fields=tuple(
                    str(item.get("jsonPath", "")).lstrip(".")
                    for item in version.get("selectableFields") or []
                ),
            )
        )
        found.schemas[name] = schemas[name]
        found.strategies[name] = Custom(names["kind"], schemas[name], schemas[stored])
        found.columns[name] = list(version.get("additionalPrinterColumns") or [])
    return found


def _deprecation(version: objects.Object, spec: objects.Object) -> str:
    """Return the warning of a deprecated version: the CRD's own, or which version to use."""
    if not version.get("deprecated"):
        return ""
    if told := version.get("deprecationWarning"):
        return str(told)
    group, kind = spec["group"], spec["names"]["kind"]
    current = [
        item["name"]
        for item in spec["versions"]
        if item.get("served") and not item.get("deprecated")
    ]
    used = f"; use {group}/{current[0]} {kind}" if current else ""
    return f"{group}/{version['name']} {kind} is deprecated{used}"


def _text(**properties: schema.Schema) -> schema.Schema:
    return {"type": "object", "properties": properties}


_STRING: schema.Schema = {"type": "string"}
_STRINGS: schema.Schema = {"type": "object", "additionalProperties": _STRING}


def _list_of(item: schema.Schema) -> schema.Schema:
    return {"type": "array", "items": item}


def _crd(plural: str, kind: str, versions: list[objects.Object]) -> objects.Object:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{_GROUP}"},
        "spec": {
            "group": _GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": plural,
                "singular": kind.lower(),
                "kind": kind,
                "listKind": f"{kind}List",
            },
            "versions": versions,
        },
    }


def _version(
    name: str, properties: dict[str, schema.Schema], *, stored: bool, warning: str = ""
) -> objects.Object:
    version: objects.Object = {
        "name": name,
        "served": True,
        "storage": stored,
        "schema": {
            "openAPIV3Schema": _text(
                apiVersion=_STRING, kind=_STRING, metadata={"type": "object"}, **properties
            )
        },
    }
    if not stored:
        version["deprecated"] = True
    if warning:
        version["deprecationWarning"] = warning
    return version


def secrets_store_crds() -> list[objects.Object]:
    """Return the two CRDs every driver of this kind lives with, as plain objects.

    Source: the CRDs of secrets-store.csi.x-k8s.io, v1.4 to v1.6.
    """
    spec = _text(
        provider=_STRING,
        parameters=_STRINGS,
        secretObjects=_list_of(
            _text(
                secretName=_STRING,
                type=_STRING,
                labels=_STRINGS,
                annotations=_STRINGS,
                data=_list_of(_text(objectName=_STRING, key=_STRING)),
            )
        ),
    )
    by_pod = _list_of(_text(id=_STRING, namespace=_STRING))
    pod_status = _text(
        podName=_STRING,
        secretProviderClassName=_STRING,
        targetPath=_STRING,
        mounted={"type": "boolean"},
        objects=_list_of(_text(id=_STRING, version=_STRING)),
    )
    old = f"{_GROUP}/v1alpha1 is deprecated. Use {_GROUP}/v1 instead."
    return [
        _crd(
            "secretproviderclasses",
            "SecretProviderClass",
            [
                _version("v1", {"spec": spec, "status": {"type": "object"}}, stored=True),
                _version(
                    "v1alpha1",
                    {"spec": spec, "status": _text(byPod=by_pod)},
                    stored=False,
                    warning=old,
                ),
            ],
        ),
        _crd(
            "secretproviderclasspodstatuses",
            "SecretProviderClassPodStatus",
            [
                _version("v1", {"status": pod_status}, stored=True),
                _version("v1alpha1", {"status": pod_status}, stored=False),
            ],
        ),
    ]
