"""The forms an answer can take: the object, its metadata only, or a table; and their bytes.

Bytes of an object's version are kept with it, so that many watchers and lists cost one encoding.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from devkit.apiserver import errors, objects, resources, store

JSON = "application/json"
OBJECT, METADATA, TABLE = "Object", "PartialObjectMetadata", "Table"
_SERVED = (
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
)


@dataclass(frozen=True, slots=True)
class Form:
    """What the client asked for; `version` is that of meta.k8s.io."""

    kind: str
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"meta.k8s.io/{self.version}"


PLAIN = Form(OBJECT)


def clauses(accept: str) -> Iterable[tuple[str, dict[str, str]]]:
    """Split an Accept header into media types and their parameters, in the order given."""
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        yield media.lower(), dict(part.split("=", 1) for part in parameters if "=" in part)


def negotiate(accept: str, *, is_list: bool) -> Form:
    """Choose the first form of an Accept header that can be served.

    Args:
        accept: the header; empty means anything.
        is_list: whether the answer is a list; `as` then names the list's kind.
    Raises: errors.StatusError: 406 if none can be served.
    """
    if not accept:
        return PLAIN
    for media, parameters in clauses(accept):
        if media not in (JSON, "*/*"):
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            return PLAIN
        version = parameters.get("v", "")
        if parameters.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
            continue
        if wanted == TABLE:
            return Form(TABLE, version)
        if wanted == (f"{METADATA}List" if is_list else METADATA):
            return Form(METADATA, version)
    raise errors.not_acceptable(_SERVED)


Converter = Callable[[objects.Object], objects.Object]


def presented(obj: objects.Object, resource: resources.Resource) -> objects.Object:
    """Return the object in the version asked for; stored objects are not changed."""
    if resource.storage == "events" and resource.group == "events.k8s.io":
        return event_to_new(obj)
    if obj.get("apiVersion") == resource.api_version:
        return obj
    return objects.arranged({**obj, "kind": resource.kind, "apiVersion": resource.api_version})


_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}


def _renamed(obj: objects.Object, names: dict[str, str], api_version: str) -> objects.Object:
    found = {names.get(key, key): value for key, value in obj.items()}
    found["apiVersion"] = api_version
    return found


def event_to_new(obj: objects.Object) -> objects.Object:
    """Turn a stored core event into its events.k8s.io form."""
    return _renamed(obj, _EVENT_FIELDS, "events.k8s.io/v1")


def event_to_core(obj: objects.Object) -> objects.Object:
    """Turn an event sent in its events.k8s.io form into the stored core form."""
    return _renamed(obj, {new: old for old, new in _EVENT_FIELDS.items()}, "v1")


def metadata_only(obj: objects.Object, form: Form) -> objects.Object:
    """Return the object as PartialObjectMetadata."""
    return {
        "kind": METADATA,
        "apiVersion": form.api_version,
        "metadata": obj.get("metadata", {}),
    }


def render(entry: store.Entry, resource: resources.Resource, form: Form) -> bytes:
    """Return the bytes of a stored object as an object or as metadata only."""
    key = (form.kind, form.version, resource.api_version)
    found = entry.rendered.get(key)
    if found is None:
        found = objects.encode(shaped(entry.obj, resource, form))
        entry.rendered[key] = found
    return found


def shaped(obj: objects.Object, resource: resources.Resource, form: Form) -> objects.Object:
    """Return the object or its metadata only."""
    if form.kind == METADATA:
        return metadata_only(obj, form)
    return presented(obj, resource)


def render_item(entry: store.Entry, resource: resources.Resource, form: Form) -> bytes:
    """Return the bytes of an object inside a list.

    Lists of built-in kinds leave out each item's kind and apiVersion; lists of custom resources and
    of metadata have them.
    """
    if form.kind == METADATA or resource.custom:
        return render(entry, resource, form)
    key = ("item", resource.api_version)
    found = entry.rendered.get(key)
    if found is None:
        obj = dict(presented(entry.obj, resource))
        obj.pop("kind", None)
        obj.pop("apiVersion", None)
        found = objects.encode(obj)
        entry.rendered[key] = found
    return found


def render_list(
    entries: Iterable[store.Entry],
    resource: resources.Resource,
    form: Form,
    list_metadata: dict[str, Any],
) -> bytes:
    """Return the bytes of a whole list."""
    if form.kind == METADATA:
        kind, api_version = f"{METADATA}List", form.api_version
    else:
        kind, api_version = resource.kind_of_list, resource.api_version
    if resource.custom and form.kind == OBJECT:
        list_metadata = {"continue": "", **list_metadata}
    head = objects.encode({"kind": kind, "apiVersion": api_version, "metadata": list_metadata})
    items = b",".join(render_item(entry, resource, form) for entry in entries)
    return b'%b,"items":[%b]}' % (head[:-1], items)
