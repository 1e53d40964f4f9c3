"""Read the field names and types of the built-in kinds from a real API server into a file.

Run `python -m devkit.apiserver.kinds.generate_types` with KUBEBUILDER_ASSETS set after adding a
resource to the table. The file holds JSON schemas without any prose, one type a line.
"""

import json
import sys
from typing import Any

from devkit import assets
from devkit.apiserver import client, objects, resources
from devkit.apiserver.kinds import builtin_types

# Types that no resource of the table names but its subresources take.
BESIDES = (
    ("policy", "v1", "Eviction"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
    ("", "v1", "Binding"),
)
_PREFIXES = (
    "io.k8s.api.",
    "io.k8s.apimachinery.pkg.apis.",
    "io.k8s.apimachinery.pkg.",
    "io.k8s.apiextensions-apiserver.pkg.apis.",
)
_KEPT = {
    "type",
    "enum",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
}
_KEPT_FORMATS = ("byte",)


def _short(reference: str) -> str:
    name = reference.rsplit("/", 1)[-1]
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _field(schema: objects.Object) -> objects.Object:
    """Return a schema without prose; references are by short name."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    reference = schema.get("$ref") or (schema.get("allOf") or [{}])[0].get("$ref")
    if reference:
        kept["$ref"] = _short(reference)
    if schema.get("format") in _KEPT_FORMATS:
        kept["format"] = schema["format"]
    # Only defaults that say something: those of list keys matter to server-side apply, and an
    # empty object marks a part that is always there, be it empty.
    if schema.get("default") == {} or (
        isinstance(schema.get("default"), str) and schema["default"]
    ):
        kept["default"] = schema["default"]
    if "properties" in schema:
        kept["properties"] = {name: _field(below) for name, below in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = _field(schema[key])
            kept[key].pop("default", None)
    return kept


def _type(name: str, schema: objects.Object) -> objects.Object:
    if name.endswith("IntOrString"):
        return {"x-kubernetes-int-or-string": True}
    if name.endswith("resource.Quantity"):
        return {"type": "string", "format": "quantity"}
    found = _field(schema)
    if not found.keys() & {"properties", "additionalProperties"} and found.get("type") in (
        "object",
        None,
    ):
        found["x-kubernetes-preserve-unknown-fields"] = True
    return found


def _references(schema: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            found.add(schema["$ref"])
        for below in schema.values():
            found |= _references(below)
    return found


def read(source: client.Client) -> objects.Object:
    """Return the file's contents as read from a server."""
    wanted = {(item.group, item.version, item.kind) for item in resources.BUILT_IN}
    wanted |= set(BESIDES)
    index = source.request("GET", "/openapi/v3").decoded()["paths"]
    every: dict[str, objects.Object] = {}
    kinds: dict[str, str] = {}
    for group, version in sorted({(group, version) for group, version, _ in wanted}):
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        document = source.request("GET", index[path]["serverRelativeURL"]).decoded()
        for name, schema in document["components"]["schemas"].items():
            every[_short(name)] = _type(name, schema)
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                if (kind["group"], kind["version"], kind["kind"]) in wanted:
                    prefix = f"{kind['group']}/" if kind["group"] else ""
                    kinds[f"{prefix}{kind['version']}/{kind['kind']}"] = _short(name)
    version = source.request("GET", "/version").decoded()["gitVersion"]
    needed: set[str] = set()
    waiting = set(kinds.values())
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting |= _references(every[name]) - needed
    return {
        "version": version,
        "kinds": dict(sorted(kinds.items())),
        "types": {name: every[name] for name in sorted(needed)},
    }


def main() -> int:
    """Write the file; return the exit code."""
    programs = assets.folder()
    if programs is None:
        sys.stderr.write(f"{assets.VARIABLE} names no folder with kube-apiserver and etcd\n")
        return 2
    with assets.RealAPIServer(programs) as server:
        found = read(server.client())
    lines = ["{", f' "version": {json.dumps(found["version"])},', ' "kinds": {']
    lines.append(
        ",\n".join(
            f"  {json.dumps(kind)}: {json.dumps(name)}" for kind, name in found["kinds"].items()
        )
    )
    lines += [" },", ' "types": {']
    lines.append(
        ",\n".join(
            f"  {json.dumps(name)}: {json.dumps(schema, separators=(',', ':'), sort_keys=True)}"
            for name, schema in found["types"].items()
        )
    )
    lines += [" }", "}", ""]
    builtin_types.FILE.write_text("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
