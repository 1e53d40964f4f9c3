"""Label and field selectors.

Source: apimachinery `labels.Parse` and `fields.ParseSelector`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from devkit.apiserver import errors, objects

_TOKEN = re.compile(r"\s*(?:(!=|==|=|!|,|\(|\)|<|>)|([^\s!=,()<>]+))")

# Fields by which the API server lets one select, beside metadata.name and metadata.namespace.
FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
    "nodes": ("spec.unschedulable",),
    "replicasets.apps": ("status.replicas",),
    "jobs.batch": ("status.successful",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label: `operator` is in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return self._compare(value)

    def _compare(self, value: str | None) -> bool:
        if value is None or not value.lstrip("-").isdigit():
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise self.error()
            self._tokens.append(found.group(1) or found.group(2))
            position = found.end()

    def error(self) -> errors.StatusError:
        return errors.bad_request(f'unable to parse requirement: "{self._text}"')

    def _next(self) -> str:
        return self._tokens.pop(0) if self._tokens else ""

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def parse(self) -> list[Requirement]:
        found = []
        while self._tokens:
            found.append(self._requirement())
            if self._peek() == ",":
                self._next()
                if not self._tokens:
                    raise self.error()
            elif self._tokens:
                raise self.error()
        return found

    def _requirement(self) -> Requirement:
        key = self._next()
        if key == "!":
            return Requirement(self._key(self._next()), "!")
        self._key(key)
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        if operator in ("=", "==", "!="):
            value = self._next() if self._peek() not in ("", ",") else ""
            return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))
        if operator in ("<", ">"):
            value = self._next()
            if not value.lstrip("-").isdigit():
                raise self.error()
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({value}))
        if operator in ("in", "notin"):
            return Requirement(key, operator, self._values())
        raise self.error()

    def _key(self, key: str) -> str:
        if not key or key in ("=", "==", "!=", "(", ")", ",", "<", ">", "!"):
            raise self.error()
        return key

    def _values(self) -> frozenset[str]:
        if self._next() != "(":
            raise self.error()
        values: set[str] = set()
        last = ","
        while (token := self._next()) != ")":
            if not token:
                raise self.error()
            if token == ",":
                if last == ",":
                    values.add("")
            elif last != ",":
                raise self.error()
            else:
                values.add(token)
            last = token
        if last == ",":
            values.add("")
        return frozenset(values)


def parse_labels(text: str) -> list[Requirement]:
    """Read a label selector; empty text selects everything. Raises: errors.StatusError: 400."""
    return _Parser(text).parse() if text.strip() else []


def from_label_selector(selector: Mapping[str, Any]) -> list[Requirement]:
    """Read a `metav1.LabelSelector` object; an empty one selects everything."""
    found = [
        Requirement(key, "in", frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    for expression in selector.get("matchExpressions") or ():
        values = frozenset(expression.get("values") or ())
        found.append(Requirement(expression["key"], operators[expression["operator"]], values))
    return found


Condition = tuple[str, str, bool]


def parse_fields(text: str) -> list[Condition]:
    """Read a field selector into (field, value, equal). Raises: errors.StatusError: 400."""
    conditions = []
    for part in re.split(r"(?<!\\),", text):
        if not part.strip():
            continue
        found = re.match(r"\s*([^!=]+?)\s*(!=|==|=)\s*(.*?)\s*$", part)
        if found is None:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        value = re.sub(r"\\([\\,=])", r"\1", found.group(3))
        conditions.append((found.group(1), value, found.group(2) != "!="))
    return conditions


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """Return a field as a selector sees it: absent is empty, booleans are lower-case words."""
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent", ""))
    if path == "status.successful":
        path = "status.succeeded"
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(frozen=True, slots=True)
class Selector:
    """What a list, watch or deletecollection chooses."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Condition, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: objects.Object) -> bool:
        if self.labels:
            labels = objects.metadata(obj).get("labels") or {}
            if not all(requirement.matches(labels) for requirement in self.labels):
                return False
        return all((field_value(obj, path) == value) is equal for path, value, equal in self.fields)


def parse(
    labels: str,
    fields: str,
    storage: str,
    selectable: Callable[[str], bool] = lambda _: False,
) -> Selector:
    """Read both selectors of a request.

    Args:
        labels: the labelSelector parameter.
        fields: the fieldSelector parameter.
        storage: which resource, for the fields it knows.
        selectable: tells further fields, those a CRD lists as selectable.
    Raises: errors.StatusError: 400 for bad syntax and for fields the resource does not know.
    """
    conditions = parse_fields(fields)
    known = FIELDS.get(storage, ())
    for path, _, _ in conditions:
        if path in ("metadata.name", "metadata.namespace") or path in known or selectable(path):
            continue
        raise errors.bad_request(f'field label not supported: "{path}"')
    return Selector(tuple(parse_labels(labels)), tuple(conditions))
