"""CustomResourceDefinitions: checks, defaults and the status that says they are served.

Source: apiextensions-apiserver validation and the naming and establishing controllers.
"""

from devkit.apiserver import errors, objects
from devkit.apiserver.kinds import strategy


class CustomResourceDefinition(strategy.Strategy):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    def prepare_create(self, obj: objects.Object) -> None:
        if isinstance(obj["spec"].get("versions"), list):
            obj["status"] = _status(obj["spec"], [])

    def prepare_update(self, new: objects.Object, old: objects.Object) -> None:
        if isinstance(new["spec"].get("versions"), list):
            before = old.get("status") or {}
            new["status"] = _status(new["spec"], before.get("storedVersions") or [])
            for condition, kept in zip(
                new["status"]["conditions"], before.get("conditions") or [], strict=False
            ):
                condition["lastTransitionTime"] = kept["lastTransitionTime"]

    def complete(self, obj: objects.Object) -> None:
        super().complete(obj)
        spec = obj["spec"]
        names = spec["names"]
        spec.setdefault("conversion", {"strategy": "None"})
        if names.get("kind"):
            names.setdefault("singular", names["kind"].lower())
            names.setdefault("listKind", f"{names['kind']}List")

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        spec, names = obj["spec"], obj["spec"]["names"]
        causes = [
            errors.required(f"spec.{path}")
            for path, value in (
                ("group", spec.get("group")),
                ("names.plural", names.get("plural")),
                ("names.kind", names.get("kind")),
                ("versions", spec.get("versions")),
            )
            if not value
        ]
        if spec.get("scope") not in ("Namespaced", "Cluster"):
            causes.append(
                errors.not_supported("spec.scope", spec.get("scope"), ["Cluster", "Namespaced"])
            )
        if causes:
            return causes
        wanted, name = f"{names['plural']}.{spec['group']}", objects.name_of(obj)
        if name != wanted:
            causes.append(
                errors.invalid_value(
                    "metadata.name", name, 'must be spec.names.plural+"."+spec.group'
                )
            )
        stored = [version for version in spec["versions"] if version.get("storage")]
        if len(stored) != 1:
            causes.append(
                errors.invalid_value(
                    "spec.versions",
                    spec["versions"],
                    "must have exactly one version marked as storage version",
                )
            )
        for number, version in enumerate(spec["versions"]):
            causes += _version_causes(version, f"spec.versions[{number}]")
        return causes

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        causes = []
        for path in ("group", "scope"):
            if new["spec"].get(path) != old["spec"].get(path):
                causes.append(
                    errors.invalid_value(
                        f"spec.{path}", new["spec"].get(path), "field is immutable"
                    )
                )
        for path in ("plural", "kind"):
            value = new["spec"]["names"].get(path)
            if value != old["spec"]["names"].get(path):
                causes.append(
                    errors.invalid_value(f"spec.names.{path}", value, "field is immutable")
                )
        return causes


def _version_causes(version: objects.Object, at: str) -> list[errors.Cause]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        return [errors.required(f"{at}.schema.openAPIV3Schema", "schemas are required")]
    if schema.get("type") != "object":
        where = f"{at}.schema.openAPIV3Schema.type"
        if not schema.get("type"):
            return [errors.required(where, "must not be empty at the root")]
        return [errors.invalid_value(where, schema["type"], "must be object at the root")]
    return _structural_causes(schema, f"{at}.schema.openAPIV3Schema")


def _structural_causes(schema: objects.Object, at: str) -> list[errors.Cause]:
    """Every value in the schema must say its type, or that anything goes."""
    causes = []
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get(
        "x-kubernetes-int-or-string"
    )
    if not schema.get("type") and not free:
        causes.append(
            errors.required(f"{at}.type", "must not be empty for specified object fields")
        )
    for name, below in (schema.get("properties") or {}).items():
        causes += _structural_causes(below, f"{at}.properties[{name}]")
    if isinstance(schema.get("additionalProperties"), dict):
        causes += _structural_causes(schema["additionalProperties"], f"{at}.additionalProperties")
    if isinstance(schema.get("items"), dict):
        causes += _structural_causes(schema["items"], f"{at}.items")
    return causes


def _status(spec: objects.Object, stored: list[str]) -> objects.Object:
    now = objects.timestamp()
    now_stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    return {
        "conditions": [
            {
                "type": "NamesAccepted",
                "status": "True",
                "lastTransitionTime": now,
                "reason": "NoConflicts",
                "message": "no conflicts found",
            },
            {
                "type": "Established",
                "status": "True",
                "lastTransitionTime": now,
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
            },
        ],
        "acceptedNames": spec["names"],
        "storedVersions": stored + [name for name in now_stored if name not in stored],
    }
