"""From a checked request to what must be read, and from what was read to files. Pure.

The answer is an ordered list keyed by file name: in the order of the entries, and inside an entry
that takes many keys in the order of folder and key.
"""

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping

from provider_kms import errors
from provider_kms.model import json_path, objects, paths
from provider_kms.model.request import Request
from provider_kms.model.secret import Folder, Secret

CLOSED_VERSION = "read-window-closed"
ABSENT_VERSION = "absent"
OFFLINE_SUFFIX = "-offline"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Merged = Mapping[tuple[str, str], Secret]
"""(folder below the listed one, key) → secret."""


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What one volume needs from one folder.

    Attributes:
        keys: name → whether the volume can do without it.
        everything: a pattern needs the whole list.
        optional: the volume can do without the folder.
    """

    keys: Mapping[str, bool]
    everything: bool
    optional: bool


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """One file of the volume."""

    path: str
    mode: int
    contents: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """The whole content of a volume.

    Attributes:
        files: ordered, paths unique.
        versions: (file name, version) of each file, and of optional ones that are not there.
    """

    files: tuple[File, ...]
    versions: tuple[tuple[str, str], ...]

    def offline(self) -> "Volume":
        """Return the same, marked as an old answer that stands in for an unreachable KMS."""
        marked = tuple((name, version + OFFLINE_SUFFIX) for name, version in self.versions)
        return dataclasses.replace(self, versions=marked)

    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return sum(len(file.contents) + len(file.path) + 300 for file in self.files)


def folder(request: Request, entry: objects.Entry) -> Folder:
    """Return the folder that an entry reads from."""
    return Folder(request.project, request.environment, entry.path, entry.recursive, request.expand)


def needs(request: Request) -> Mapping[Folder, Needs]:
    """Return folder → what is needed of it, in the order of the entries."""
    keys: dict[Folder, dict[str, bool]] = {}
    patterns: set[Folder] = set()
    required: set[Folder] = set()
    for entry in request.entries:
        place = folder(request, entry)
        wanted = keys.setdefault(place, {})
        if entry.key:
            wanted[entry.key] = entry.optional and wanted.get(entry.key, True)
        else:
            patterns.add(place)
        if not entry.optional:
            required.add(place)
    return {
        place: Needs(wanted, place in patterns, place not in required)
        for place, wanted in keys.items()
    }


def closed(request: Request) -> Volume:
    """Return the volume outside its read window: every file, empty."""
    files = tuple(
        File(entry.file, request.mode if entry.mode is None else entry.mode, b"")
        for entry in request.entries
    )
    return Volume(files, tuple((entry.file, CLOSED_VERSION) for entry in request.entries))


def build(request: Request, found: Mapping[Folder, Merged], salt: bytes) -> Volume:
    """Turn what was read into files.

    Args:
        request: whose entries are to be served.
        found: for each folder of `needs` the secrets read; a key that is missing there is
            missing in the KMS and optional.
        salt: of this process, for versions of expanded values.

    Raises: errors.ValueHidden, errors.ValueUnusable, errors.FileRejected, errors.NothingMatched.
    """
    files: list[File] = []
    versions: list[tuple[str, str]] = []
    for entry in request.entries:
        place = folder(request, entry)
        content = found.get(place, {})
        before = len(versions)
        for path, contents, version in _pieces(request, entry, place, content, salt):
            mode = request.mode if entry.mode is None else entry.mode
            files.append(File(path, mode, contents))
            versions.append((path, version))
        if len(versions) == before:
            versions.append((entry.file, ABSENT_VERSION))
    twice = paths.clash(file.path for file in files)
    if twice is not None:
        raise errors.FileRejected(twice, "is made twice, or is a directory too")
    return Volume(tuple(files), tuple(versions))


def _pieces(
    request: Request, entry: objects.Entry, place: Folder, content: Merged, salt: bytes
) -> Iterator[tuple[str, bytes, str]]:
    """Yield path, contents and version of each file that an entry makes."""
    if entry.keys is None:
        secret = content.get(("", entry.key))
        if secret is not None:
            value = _value(place, secret)
            yield entry.file, _decoded(entry, place, secret, value), _version(place, secret, salt)
        return
    chosen = [
        (below, secret)
        for (below, key), secret in sorted(content.items())
        if entry.keys.matches(key)
    ]
    if not chosen and not entry.optional:
        raise errors.NothingMatched(place.place(), entry.keys.text)
    if entry.bundle:
        if chosen:
            secrets = [secret for _, secret in chosen]
            versions = [_version(place, secret, salt) for secret in secrets]
            yield entry.file, _bundle(entry, place, secrets), _joint(versions)
        return
    for below, secret in chosen:
        path = objects.expand(entry.file, below, secret.key)
        rule = paths.fault(path)
        if rule is not None:
            raise errors.FileRejected(path, rule)
        value = _value(place, secret)
        yield path, _decoded(entry, place, secret, value), _version(place, secret, salt)


def _value(place: Folder, secret: Secret) -> bytes:
    if secret.value is None:
        raise errors.ValueHidden(place.place(secret.key))
    return secret.value.open()


def _decoded(entry: objects.Entry, place: Folder, secret: Secret, value: bytes) -> bytes:
    """Apply jsonPath, then encoding; an error names the rule and never quotes the value."""
    try:
        if entry.json_steps:
            value = json_path.pick(value, entry.json_steps)
        if entry.encoding == "base64":
            # Line breaks inside and after are how tools print base64.
            return base64.b64decode(b"".join(value.split()), validate=True)
        if entry.encoding == "hex":
            return bytes.fromhex(value.decode())
    except binascii.Error:
        raise errors.ValueUnusable(place.place(secret.key), "the value is not base64") from None
    except UnicodeDecodeError:
        raise errors.ValueUnusable(place.place(secret.key), "the value is not hex") from None
    except ValueError as error:
        rule = "the value is not hex" if entry.encoding == "hex" else str(error)
        raise errors.ValueUnusable(place.place(secret.key), rule) from None
    return value


def _bundle(entry: objects.Entry, place: Folder, secrets: list[Secret]) -> bytes:
    values: dict[str, str] = {}
    for secret in secrets:
        if secret.key in values:
            raise errors.FileRejected(
                entry.file, f'key "{errors.shorten(secret.key)}" is in two folders'
            )
        values[secret.key] = _value(place, secret).decode()
    if entry.bundle == "json":
        return json.dumps(values, ensure_ascii=False, sort_keys=True, indent=2).encode()
    lines = []
    for key, value in sorted(values.items()):
        if not _ENVIRONMENT_NAME.fullmatch(key) or "\0" in value:
            rule = "cannot be a variable of a dotenv file"
            raise errors.ValueUnusable(place.place(key), rule)
        lines.append(f"{key}={_quoted(value)}\n")
    return "".join(lines).encode()


def _quoted(value: str) -> str:
    # Single quotes are literal for shells and dotenv readers alike; only what they cannot
    # hold on one line needs escapes.
    if not any(character in value for character in "'\n\r"):
        return f"'{value}'"
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("`", "\\`")):
        value = value.replace(plain, escaped)
    value = value.replace("\n", "\\n").replace("\r", "\\r")
    return f'"{value}"'


def _version(place: Folder, secret: Secret, salt: bytes) -> str:
    version = f"{secret.id}-{secret.path}-{secret.key}-{secret.version}"
    if place.expand and secret.value is not None:
        # A referenced secret changes the value and not the version. Versions are seen in the
        # pod's status object, so the digest must not be one that a guess can be tried on.
        mark = hmac.new(salt, secret.value.open(), hashlib.sha256).hexdigest()
        version = f"{version}-{mark[:12]}"
    return version


def _joint(versions: list[str]) -> str:
    text = "\n".join(versions).encode("utf-8", "surrogatepass")
    return f"bundle-{hashlib.sha256(text).hexdigest()[:24]}"
