"""``secrets-store lint``: classes, and pods that use them, checked before a pod fails to start."""

import dataclasses
import pathlib
import sys
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import click

from secrets_store import errors, settings
from secrets_store.model import provider_class
from secrets_store.ops import documents, provider_rules

ERROR, WARNING = "error", "warning"
_REFUSED_TYPES = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")
_TEMPLATES = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing found, at one line of one file."""

    file: str
    line: int
    severity: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message}"


@click.command("lint")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, path_type=pathlib.Path)
)
def command(files: tuple[pathlib.Path, ...]) -> None:
    """Check SecretProviderClasses and the pods that use them.

    FILES are YAML files or folders of them. Exits with 1 if there is an error, 0 if there are only
    warnings.
    """
    findings = sorted(set(check(_expand(files))))
    for finding in findings:
        click.echo(str(finding))
    count = sum(finding.severity == ERROR for finding in findings)
    click.echo(f"{count} errors, {len(findings) - count} warnings", err=True)
    sys.exit(1 if count else 0)


def check(files: Iterable[pathlib.Path]) -> Iterator[Finding]:
    """Yield what is wrong in some files; a pod's class is looked for in all of them."""
    read: list[tuple[str, documents.Document]] = []
    for file in files:
        try:
            read += [(str(file), x) for x in documents.read(file.read_text(encoding="utf-8"))]
        except documents.Unreadable as error:
            yield Finding(str(file), error.line, ERROR, error.problem)
        except UnicodeDecodeError:
            yield Finding(str(file), 1, ERROR, "not a text file")
    flat = list(_flatten(read))
    classes = {
        (_namespace(x.value), _name(x.value))
        for _, x in flat
        if x.value.get("kind") == "SecretProviderClass"
    }
    for file_name, document in flat:
        kind = document.value.get("kind")
        found = _class(document) if kind == "SecretProviderClass" else _pod(document, kind, classes)
        for line, severity, message in found:
            yield Finding(file_name, line, severity, message)


_Found = Iterator[tuple[int, str, str]]


def _expand(files: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    for file in files:
        if file.is_dir():
            yield from sorted([*file.rglob("*.yaml"), *file.rglob("*.yml")])
        else:
            yield file


def _flatten(
    read: Iterable[tuple[str, documents.Document]],
) -> Iterator[tuple[str, documents.Document]]:
    for file_name, document in read:
        if isinstance(document.value, dict):
            yield file_name, document


def _name(obj: dict[str, Any]) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _namespace(obj: dict[str, Any]) -> str:
    return str((obj.get("metadata") or {}).get("namespace", ""))


def _class(document: documents.Document) -> _Found:
    spec = document.value.get("spec")
    if not isinstance(spec, dict):
        yield document.line(), ERROR, "spec is missing"
        return
    provider, parameters = spec.get("provider"), spec.get("parameters")
    if not provider:
        yield document.line("spec"), ERROR, "spec.provider is not set"
    if not isinstance(parameters, dict) or not parameters:
        yield document.line("spec"), ERROR, "spec.parameters is not set"
        return
    for key, value in parameters.items():
        if not isinstance(value, str):
            line = document.line("spec", "parameters", str(key))
            yield line, ERROR, f"parameter {key} must be text: put it in quotes"
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    files = yield from _parameters(document, str(provider), texts)
    yield from _annotations(document)
    yield from _default_mode(document, texts)
    yield from _secret_objects(document, spec.get("secretObjects") or [], files)


def _annotations(document: documents.Document) -> _Found:
    annotations = (document.value.get("metadata") or {}).get("annotations") or {}
    try:
        provider_class.interval_s(annotations, None)
    except errors.ClassInvalid as error:
        yield document.line("metadata", "annotations"), ERROR, str(error)


def _default_mode(document: documents.Document, parameters: dict[str, str]) -> _Found:
    try:
        _ = provider_class.ProviderClass("", "", "", 0, "", parameters, (), {}).default_mode
    except errors.ClassInvalid as error:
        yield document.line("spec", "parameters", "defaultMode"), ERROR, str(error)


def _parameters(
    document: documents.Document, provider: str, parameters: dict[str, str]
) -> Generator[tuple[int, str, str], None, frozenset[str] | None]:
    rules = provider_rules.RULES.get(provider)
    where = ("spec", "parameters")
    if rules is None:
        line = document.line("spec", "provider")
        yield line, WARNING, f"provider {provider!r} is not known here; its rules were not checked"
        return None
    for name in sorted(rules.required - parameters.keys()):
        yield document.line(*where), ERROR, f"parameter {name} of provider {provider} is missing"
    known = rules.required | rules.optional | provider_rules.COMMON
    for name in sorted(parameters.keys() - known):
        yield document.line(*where, name), WARNING, f"{provider} knows no parameter {name!r}"
    for name in sorted(rules.booleans & parameters.keys()):
        if parameters[name] not in ("true", "false"):
            yield document.line(*where, name), ERROR, f'{name} must be "true" or "false"'
    if rules.objects not in parameters:
        return None
    return (yield from _objects(document, rules, parameters[rules.objects]))


def _objects(
    document: documents.Document, rules: provider_rules.Rules, text: str
) -> Generator[tuple[int, str, str], None, frozenset[str] | None]:
    where = ("spec", "parameters", rules.objects)
    first = document.line(*where, "|")
    try:
        inner = next(documents.read(text, plain=True), None)
    except documents.Unreadable as error:
        yield first + error.line - 1, ERROR, f"{rules.objects}: {error.problem}"
        return None
    listed = inner.value if inner else None
    if rules.under and isinstance(listed, dict):
        listed = listed.get(rules.under)
    if not isinstance(listed, list) or not listed or inner is None:
        below = f" with a list {rules.under!r}" if rules.under else ", a list"
        yield document.line(*where), ERROR, f"{rules.objects} must be YAML{below}, and not empty"
        return None
    names: dict[str, int] = {}
    for number, item in enumerate(listed):
        path = (rules.under, number) if rules.under else (number,)
        line = first + inner.line(*path) - 1
        entry = _entry(item, rules)
        if entry is None:
            yield line, ERROR, f"{rules.objects}[{number}] must be a map"
            continue
        yield from _fields(line, f"{rules.objects}[{number}]", entry, rules)
        shown = next((entry[x] for x in rules.unique if entry.get(x)), "")
        if isinstance(shown, str) and shown:
            if shown in names:
                yield line, ERROR, f"file name {shown!r} was used on line {names[shown]}"
            names.setdefault(shown, line)
    return frozenset(names)


def _entry(item: Any, rules: provider_rules.Rules) -> dict[str, Any] | None:
    if rules.strings and isinstance(item, str):
        try:
            inner = next(documents.read(item, plain=True), None)
        except documents.Unreadable:
            return None
        item = inner.value if inner else None
    return item if isinstance(item, dict) else None


def _fields(line: int, where: str, entry: dict[str, Any], rules: provider_rules.Rules) -> _Found:
    for name in sorted(rules.object_required):
        if not entry.get(name):
            yield line, ERROR, f"{where}: {name} is missing"
    for name in sorted(entry.keys() - rules.object_required - rules.object_optional):
        yield line, WARNING, f"{where}: no field {name!r} is known"
    for name, allowed in rules.choices.items():
        value = entry.get(name)
        if value and str(value).lower() not in allowed:
            yield line, ERROR, f"{where}: {name} must be one of {', '.join(sorted(allowed))}"
    for name in rules.unique:
        value = entry.get(name)
        if isinstance(value, str) and ".." in value.split("/"):
            yield line, ERROR, f"{where}: {name} must not contain '..'"


def _secret_objects(
    document: documents.Document, entries: Any, files: frozenset[str] | None
) -> _Found:
    if not isinstance(entries, list):
        yield document.line("spec", "secretObjects"), ERROR, "secretObjects must be a list"
        return
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        where = ("spec", "secretObjects", number)
        line = document.line(*where)
        if not isinstance(entry, dict):
            yield line, ERROR, "a secretObject must be a map"
            continue
        name, sort = str(entry.get("secretName") or ""), str(entry.get("type") or "")
        if not name.strip():
            yield line, ERROR, "secretName is empty"
        elif name in seen:
            yield line, ERROR, f"secretName {name!r} is used twice; the later entry would win"
        seen.add(name)
        if not sort:
            yield line, ERROR, "type is empty; Opaque is the usual one"
        if sort.strip() in _REFUSED_TYPES:
            yield line, ERROR, f"Secrets of type {sort} are not made: they would be tokens"
        yield from _data(document, where, entry.get("data"), files)


def _data(
    document: documents.Document, where: documents.Path, data: Any, files: frozenset[str] | None
) -> _Found:
    if not isinstance(data, list) or not data:
        yield document.line(*where), ERROR, "data is empty"
        return
    for number, item in enumerate(data):
        line = document.line(*where, "data", number)
        if (
            not isinstance(item, dict)
            or not item.get("objectName")
            or not (item.get("key") or item.get("objectName") == "*")
        ):
            yield line, ERROR, "objectName and key must be set"
        elif files and item["objectName"] != "*" and item["objectName"] not in files:
            yield (
                line,
                WARNING,
                f"no object of this class is called {item['objectName']!r}; "
                "objectName is the file's name",
            )


def _pod(document: documents.Document, kind: Any, classes: set[tuple[str, str]]) -> _Found:
    path = _pod_spec(kind)
    if path is None:
        return
    spec: Any = document.value
    for key in path:
        spec = spec.get(key) if isinstance(spec, dict) else None
    volumes = spec.get("volumes") if isinstance(spec, dict) else None
    if not isinstance(volumes, list):
        return
    for number, volume in enumerate(volumes):
        csi = volume.get("csi") if isinstance(volume, dict) else None
        if isinstance(csi, dict) and csi.get("driver") == settings.DEFAULT_DRIVER_NAME:
            where: documents.Path = (*path, "volumes", number)
            yield from _volume(document, where, volume, csi, classes)
            yield from _sub_paths(document, path, spec, str(volume.get("name")))


def _pod_spec(kind: Any) -> tuple[str, ...] | None:
    if kind == "Pod":
        return ("spec",)
    if kind == "CronJob":
        return ("spec", "jobTemplate", "spec", "template", "spec")
    return ("spec", "template", "spec") if kind in _TEMPLATES else None


def _volume(
    document: documents.Document,
    where: documents.Path,
    volume: dict[str, Any],
    csi: dict[str, Any],
    classes: set[tuple[str, str]],
) -> _Found:
    line = document.line(*where)
    if csi.get("readOnly") is not True:
        yield line, ERROR, f"volume {volume.get('name')}: csi.readOnly must be true"
    attributes = csi.get("volumeAttributes") or {}
    chosen = attributes.get("secretProviderClass")
    if not chosen:
        yield line, ERROR, "volumeAttributes.secretProviderClass is not set"
    elif classes and (_namespace(document.value), chosen) not in classes:
        yield line, WARNING, f"class {chosen!r} is not in these files; it must be in the namespace"
    for extra in sorted(attributes.keys() - {"secretProviderClass"}):
        yield (
            line,
            WARNING,
            f"volume attribute {extra!r} does not reach the provider "
            "(flag allow-attribute-override)",
        )


def _sub_paths(
    document: documents.Document, path: tuple[str, ...], spec: dict[str, Any], name: str
) -> _Found:
    for sort in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(sort) or []):
            for place, mount in enumerate((container or {}).get("volumeMounts") or []):
                if isinstance(mount, dict) and mount.get("name") == name and mount.get("subPath"):
                    line = document.line(*path, sort, number, "volumeMounts", place)
                    yield line, WARNING, "a file mounted by subPath is never refreshed"
