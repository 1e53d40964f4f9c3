"""The class parameter `secrets`: a YAML list whose entries say which secret becomes which file.

Pure. Every rule that needs no look into the KMS is checked here, before any request is made, and
broken ones are named by entry and field. Field names and the meaning of the first three are those
of the Go provider in use; the others are ours (docs/provider.md).
"""

import dataclasses
import functools
import re
from collections.abc import Mapping

from provider_kms import errors
from provider_kms.model import document, json_path, paths, pattern

PARAMETER = "secrets"
MOST_ENTRIES = 2000
MOST_STEPS = 10_000
"""Of all patterns of one class: what they cost in memory and, for each key, in time."""

_LONGEST_KEPT = 32 * 1024
ENCODINGS = ("utf-8", "base64", "hex")
FORMATS = ("dotenv", "json")
_FIELDS = frozenset(
    (
        *("secretPath", "secretKey", "fileName", "keys", "recursive"),
        *("mode", "encoding", "jsonPath", "format", "optional"),
    )
)
_MODE = re.compile(r"0?[0-7]{3}")
_PLACEHOLDER = re.compile(r"\{[^{}]*\}")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One entry, checked: one secret as a file, or many as files or as one bundle.

    Attributes:
        path: folder in the KMS.
        file: path in the volume; with `keys` and no `bundle` a template with ``{key}``.
        key: name of one secret; "" if `keys` is set.
        keys: names of many; None if `key` is set.
        recursive: `keys` looks below the folder too.
        mode: permission bits, or None for the request's own.
        encoding: how the value is stored; decoded before it is written.
        json_steps: steps into a value that is JSON; () for the whole.
        bundle: "dotenv" or "json" for one file with all secrets of `keys`; "" for one file each.
        optional: a missing secret is no failure.
    """

    path: str
    file: str
    key: str = ""
    keys: pattern.Pattern | None = None
    recursive: bool = False
    mode: int | None = None
    encoding: str = "utf-8"
    json_steps: tuple[json_path.Step, ...] = ()
    bundle: str = ""
    optional: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Objects:
    """All entries in their order, and what the author should know."""

    entries: tuple[Entry, ...]
    warnings: tuple[str, ...]


def parse(text: str) -> Objects:
    """Read the parameter.

    Raises: errors.InvalidRequest: naming the entry and field.
    """
    # A class is mounted again and again. Long ones take memory, up to 3 MiB each, so only few stay.
    return _parse_once(text) if len(text) <= _LONGEST_KEPT else _parse_long_once(text)


def _parse(text: str) -> Objects:
    if not text.strip():
        raise errors.InvalidRequest(PARAMETER, "must list at least one secret")
    try:
        root = document.load(text)
    except document.Malformed as error:
        raise errors.InvalidRequest(PARAMETER, f"is not YAML as expected: {error}") from None
    if not isinstance(root, list) or not root:
        raise errors.InvalidRequest(PARAMETER, "must be a list with at least one secret")
    if len(root) > MOST_ENTRIES:
        raise errors.InvalidRequest(PARAMETER, f"has more than {MOST_ENTRIES} entries")
    warnings: list[str] = []
    entries, steps = list[Entry](), 0
    for number, node in enumerate(root, 1):
        entry = _Fields(number, node, warnings).entry()
        steps += entry.keys.steps if entry.keys is not None else 0
        if steps > MOST_STEPS:
            raise errors.InvalidRequest(PARAMETER, "has patterns that are too large together")
        entries.append(entry)
    unique = tuple(dict.fromkeys(entries))
    if len(unique) < len(entries):
        warnings.append(f"{PARAMETER} has an entry twice")
    twice = paths.clash(entry.file for entry in unique if entry.key or entry.bundle)
    if twice is not None:
        raise errors.InvalidRequest(
            PARAMETER, f'fileName "{errors.shorten(twice)}" is used twice, or as a directory too'
        )
    return Objects(unique, tuple(dict.fromkeys(warnings)))


_parse_once = functools.lru_cache(maxsize=64)(_parse)
_parse_long_once = functools.lru_cache(maxsize=4)(_parse)


class _Fields:
    """The raw fields of one entry, read with checks that name entry and field."""

    def __init__(self, number: int, node: object, warnings: list[str]) -> None:
        self._number = number
        if not isinstance(node, dict):
            raise errors.InvalidRequest(f"{PARAMETER}[{number}]", "must be a map of fields")
        self._raw: Mapping[str, object] = node
        unknown = sorted(set(self._raw) - _FIELDS)
        warnings.extend(f"{PARAMETER}: unknown field {name!r:.80}" for name in unknown)

    def entry(self) -> Entry:
        """Return the entry.

        Raises: errors.InvalidRequest.
        """
        keys = self._text("keys")
        optional = self._flag("optional")
        mode = self._mode()
        if keys:
            return self._many(keys, optional, mode)
        key = self._text("secretKey").strip()
        if not key:
            raise self._fault("secretKey", "must be set (or keys)")
        if key in (".", ".."):
            # It is a segment of the request's path, where these mean another place.
            raise self._fault("secretKey", "is no name of a secret")
        for field in ("recursive", "format"):
            if self._text(field) not in ("", "false"):
                raise self._fault(field, "goes with keys only")
        return Entry(
            path=self._folder(),
            file=self._file(),
            key=key,
            mode=mode,
            encoding=self._choice("encoding", ENCODINGS, "utf-8"),
            json_steps=self._json_path(),
            optional=optional,
        )

    def _many(self, keys: str, optional: bool, mode: int | None) -> Entry:
        for field in ("secretKey", "jsonPath"):
            if self._text(field):
                raise self._fault(field, "does not go with keys")
        try:
            matcher = pattern.Pattern(keys)
        except ValueError as error:
            raise self._fault("keys", str(error)) from None
        recursive = self._flag("recursive")
        bundle = self._choice("format", FORMATS, "")
        encoding = self._choice("encoding", ENCODINGS, "utf-8")
        if bundle and encoding != "utf-8":
            raise self._fault("encoding", "does not go with format")
        return Entry(
            path=self._folder(),
            file=self._file() if bundle else self._template(recursive),
            keys=matcher,
            recursive=recursive,
            mode=mode,
            encoding=encoding,
            bundle=bundle,
            optional=optional,
        )

    def _text(self, field: str) -> str:
        value = self._raw.get(field, "")
        if not isinstance(value, str):
            raise self._fault(field, "must be a plain value")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self._fault(field, "is not Unicode text") from None
        return value

    def _flag(self, field: str) -> bool:
        return self._choice(field, ("true", "false"), "false") == "true"

    def _choice(self, field: str, known: tuple[str, ...], default: str) -> str:
        value = self._text(field) or default
        if value not in known and value != default:
            raise self._fault(field, f"must be one of {', '.join(known)}")
        return value

    def _folder(self) -> str:
        path = self._text("secretPath").strip() or "/"
        if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise self._fault("secretPath", 'must begin with "/" and have no ".."')
        return path.rstrip("/") or "/"

    def _file(self) -> str:
        file = self._text("fileName")
        rule = paths.fault(file)
        if rule is not None:
            raise self._fault("fileName", rule)
        return file

    def _template(self, recursive: bool) -> str:
        template = self._text("fileName") or ("{path}/{key}" if recursive else "{key}")
        unknown = set(_PLACEHOLDER.findall(template)) - {"{key}", "{path}"}
        if "{key}" not in template or unknown:
            raise self._fault("fileName", "needs {key}, and knows besides only {path}")
        rule = paths.fault(expand(template, "d", "k"))
        if rule is not None:
            raise self._fault("fileName", rule)
        return template

    def _mode(self) -> int | None:
        text = self._text("mode")
        if not text:
            return None
        if not _MODE.fullmatch(text):
            raise self._fault("mode", "must be three octal digits such as 0400")
        return int(text, 8)

    def _json_path(self) -> tuple[json_path.Step, ...]:
        text = self._text("jsonPath")
        try:
            return json_path.parse(text) if text else ()
        except ValueError as error:
            raise self._fault("jsonPath", str(error)) from None

    def _fault(self, field: str, rule: str) -> errors.InvalidRequest:
        return errors.InvalidRequest(f"{PARAMETER}[{self._number}].{field}", rule)


def expand(template: str, path: str, key: str) -> str:
    """Return a file's path from a template, the folder below the listed one, and a key."""
    # In the listed folder itself {path} is nothing, and its slash goes with it.
    template = template.replace("{path}/", f"{path}/" if path else "").replace("{path}", path)
    return template.replace("{key}", key)
