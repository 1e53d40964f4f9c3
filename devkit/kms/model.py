"""The world of the stand-in KMS: projects, environments, folders, secrets, imports.

One `World` is owned by one server and shared with the tests that steer it. Every public method
takes the world's lock, so any thread may call it; code that reads several things in one go holds
`world.lock` itself. Secrets, imports and identities are frozen: a change puts a new object in the
old one's place, so what a reader has in hand never changes under it.

Source: kms-http-api §2.1 (names), §2.4 (trimming), §2.5 (versions), §2.6 (imports).
"""

import dataclasses
import datetime
import functools
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from devkit.kms import behaviour, identities

Clock = Callable[[], float]

# What JavaScript's trim() removes; Python's strip() would also take U+001C to U+001F and U+0085.
_WHITE_SPACE = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_PATH = re.compile(r"(?:/[A-Za-z0-9_-]+)+")


class Rejected(ValueError):
    """A write breaks a rule of the KMS; the text says which, and names no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """What a write says about a secret; None leaves what is there, or the default, as it is.

    `version` is the least version to end at. `hidden` makes the server mask the value whatever the
    request asks, a state the real server should never be in but a client must survive.
    """

    value: str | None = field(default=None, repr=False)
    id: str | None = None
    version: int | None = None
    comment: str | None = None
    skip_multiline_encoding: bool | None = None
    tags: tuple[str, ...] | None = None
    metadata: tuple[tuple[str, str], ...] | None = None
    hidden: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One version of one secret."""

    id: str
    key: str
    value: str = field(repr=False)
    version: int
    created_at: float
    updated_at: float
    comment: str = ""
    skip_multiline_encoding: bool = False
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """A link to another folder; a replicated one is kept but never followed."""

    environment: str
    path: str
    replicated: bool = False


@dataclass(slots=True)
class Folder:
    """A folder's secrets by key, their history by key and version, and its imports in order."""

    id: str
    secrets: dict[str, Secret] = field(default_factory=dict)
    history: dict[str, dict[int, Secret]] = field(default_factory=dict, repr=False)
    imports: tuple[Import, ...] = ()


@dataclass(slots=True)
class Project:
    """A project: environment slug → path → folder. Every environment has `/`."""

    id: str
    slug: str
    organization: str
    type: str = "secret-manager"
    environments: dict[str, dict[str, Folder]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FolderSpec:
    """A folder as a seed describes it."""

    secrets: dict[str, SecretSpec] = field(default_factory=dict)
    imports: tuple[Import, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """A project as a seed describes it: environment → path → folder."""

    id: str
    slug: str
    organization: str
    type: str
    environments: dict[str, dict[str, FolderSpec]]


class World:
    """Everything the KMS knows apart from tokens.

    Args:
        clock: seconds since the epoch; tests hand in their own to let tokens expire.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.projects: dict[str, Project] = {}
        self.identities: dict[str, identities.Identity] = {}
        self.settings = behaviour.Settings()

    def change_settings(self, **changes: object) -> None:
        """Replace some of the settings."""
        with self.lock:
            self.settings = dataclasses.replace(self.settings, **changes)  # type: ignore[arg-type]

    def add_project(
        self,
        id: str,
        *,
        slug: str | None = None,
        organization: str = identities.ORGANIZATION,
        type: str = "secret-manager",
        environments: Iterable[str] = (),
    ) -> Project:
        """Create a project, or change the one of this id, and make sure of its environments."""
        with self.lock:
            project = self.projects.setdefault(id, Project(id, slug or id, organization))
            project.slug, project.organization, project.type = slug or id, organization, type
            for environment in environments:
                self._ensure_folder(project, environment, "/")
            return project

    def add_identity(self, identity: identities.Identity) -> None:
        """Add an identity or replace the one of this id; tokens already issued live on."""
        with self.lock:
            self.identities[identity.id] = identity

    def change_identity(self, id: str, **changes: object) -> None:
        """Replace some fields of an identity."""
        with self.lock:
            self.identities[id] = dataclasses.replace(self.identities[id], **changes)  # type: ignore[arg-type]

    def remove_identity(self, id: str) -> None:
        """Remove an identity; its tokens are unknown from now on."""
        with self.lock:
            del self.identities[id]

    def add_folder(self, project: str, environment: str, path: str) -> None:
        """Create a folder, its parents and, if need be, its environment."""
        with self.lock:
            self._ensure_folder(self.projects[project], environment, path)

    def set_secret(
        self, project: str, environment: str, path: str, key: str, value: str, **attributes: object
    ) -> Secret:
        """Create or update a secret; an update adds 1 to its version even if nothing changed.

        Args:
            project: project id, which must exist. Environment and folders are made as needed.
            key: trimmed; without `:` and `/`.
            value: trimmed as the KMS does on every write, see `trim_value`.
            attributes: further fields of `SecretSpec`.
        Returns: the secret as stored.
        Raises: Rejected: the key or the path breaks a rule.
        """
        spec = SecretSpec(value=value, **attributes)  # type: ignore[arg-type]
        with self.lock:
            folder = self._ensure_folder(self.projects[project], environment, path)
            return self._write(folder, key, spec)

    def rename_secret(self, project: str, environment: str, path: str, old: str, new: str) -> None:
        """Give a secret another key; that is an update, the id stays."""
        with self.lock:
            folder = self.folder(project, environment, path)
            secret = folder.secrets.pop(old)
            _keep(folder, dataclasses.replace(secret, key=new, version=secret.version + 1))

    def delete_secret(self, project: str, environment: str, path: str, key: str) -> None:
        """Delete a secret and its history."""
        with self.lock:
            _drop(self.folder(project, environment, path), key)

    def set_imports(
        self, project: str, environment: str, path: str, imports: Iterable[Import]
    ) -> None:
        """Set a folder's imports, first to last."""
        with self.lock:
            folder = self._ensure_folder(self.projects[project], environment, path)
            folder.imports = tuple(imports)

    def folder(self, project: str, environment: str, path: str) -> Folder:
        """Return a folder that must exist (KeyError otherwise)."""
        return self.projects[project].environments[environment][path]

    def apply(
        self,
        projects: Iterable[ProjectSpec],
        known: Iterable[identities.Identity],
        settings: behaviour.Settings | None = None,
    ) -> None:
        """Make the world what a seed says; what did not change keeps its id and version.

        A secret whose fields differ from the present ones is updated (version + 1), one with
        another id is created anew, one that is missing is deleted. Tokens are left alone.
        """
        with self.lock:
            specs = {spec.id: spec for spec in projects}
            for gone in self.projects.keys() - specs.keys():
                del self.projects[gone]
            for spec in specs.values():
                project = self.add_project(
                    spec.id, slug=spec.slug, organization=spec.organization, type=spec.type
                )
                self._apply_project(project, spec)
            self.identities = {identity.id: identity for identity in known}
            self.settings = settings or behaviour.Settings()

    def _apply_project(self, project: Project, spec: ProjectSpec) -> None:
        for gone in project.environments.keys() - spec.environments.keys():
            del project.environments[gone]
        for environment, folders in spec.environments.items():
            wanted = {"/"}.union(*map(_with_parents, folders))
            present = project.environments.get(environment, {})
            for path in present.keys() - wanted:
                del present[path]
            for path in wanted:
                folder = self._ensure_folder(project, environment, path)
                self._apply_folder(folder, folders.get(path, FolderSpec()))

    def _apply_folder(self, folder: Folder, spec: FolderSpec) -> None:
        folder.imports = spec.imports
        for key in folder.secrets.keys() - spec.secrets.keys():
            _drop(folder, key)
        for key, secret_spec in spec.secrets.items():
            whole = _whole(secret_spec)
            if _differs(folder.secrets.get(key), whole):
                self._write(folder, key, whole)

    def _ensure_folder(self, project: Project, environment: str, path: str) -> Folder:
        folders = project.environments.setdefault(environment, {})
        for each in _with_parents(path):
            folders.setdefault(each, Folder(str(uuid.uuid4())))
        return folders[path]

    def _write(self, folder: Folder, key: str, spec: SecretSpec) -> Secret:
        key = check_key(key)
        old = folder.secrets.get(key)
        if old is not None and spec.id is not None and spec.id != old.id:
            _drop(folder, key)
            old = None
        now = self.clock()
        base = old or Secret(
            id=spec.id or str(uuid.uuid4()),
            key=key,
            value="",
            version=0,
            created_at=now,
            updated_at=now,
        )
        version = max(base.version + 1, spec.version or 1)
        return _keep(
            folder,
            dataclasses.replace(base, version=version, updated_at=now, **_given(spec)),  # type: ignore[arg-type]
        )


def check_key(key: str) -> str:
    """Trim and check a secret's key.

    Raises: Rejected: it is empty or holds `:` or `/`.
    """
    key = key.strip(_WHITE_SPACE)
    if not key or ":" in key or "/" in key:
        raise Rejected(f"a secret's key must not be empty nor contain ':' or '/': {key!r}")
    return key


def check_path(path: str) -> None:
    """Check a folder's path.

    Raises: Rejected: it is not absolute, or holds more than letters, digits, `_` and `-`.
    """
    if path != "/" and not _PATH.fullmatch(path):
        raise Rejected(f"not a folder path (/, or / and segments of A-Z a-z 0-9 _ -): {path!r}")


def trim_value(value: str) -> str:
    """Trim a value as the KMS does when it is written: one last newline survives."""
    trimmed = value.strip(_WHITE_SPACE)
    return trimmed + "\n" if value.endswith("\n") else trimmed


@functools.lru_cache(maxsize=1024)
def iso_time(at: float) -> str:
    """Write a time as the API does: UTC, milliseconds, `Z`."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _given(spec: SecretSpec) -> dict[str, object]:
    """Name the fields of a secret that the spec sets, with the values they are stored as."""
    fields: dict[str, object] = {
        name: getattr(spec, name)
        for name in ("comment", "skip_multiline_encoding", "tags", "metadata", "hidden")
        if getattr(spec, name) is not None
    }
    if spec.value is not None:
        fields["value"] = trim_value(spec.value)
    return fields


def _whole(spec: SecretSpec) -> SecretSpec:
    """Fill what a spec leaves open with the defaults: a seed describes its secrets whole."""
    return SecretSpec(
        value=spec.value or "",
        id=spec.id,
        version=spec.version,
        comment=spec.comment or "",
        skip_multiline_encoding=spec.skip_multiline_encoding or False,
        tags=spec.tags or (),
        metadata=spec.metadata or (),
        hidden=spec.hidden or False,
    )


def _differs(secret: Secret | None, spec: SecretSpec) -> bool:
    if secret is None or (spec.id is not None and spec.id != secret.id):
        return True
    if spec.version is not None and spec.version > secret.version:
        return True
    return any(getattr(secret, name) != value for name, value in _given(spec).items())


def _keep(folder: Folder, secret: Secret) -> Secret:
    folder.secrets[secret.key] = secret
    folder.history.setdefault(secret.key, {})[secret.version] = secret
    return secret


def _drop(folder: Folder, key: str) -> None:
    id = folder.secrets.pop(key).id
    for versions in folder.history.values():
        for version in [each for each, secret in versions.items() if secret.id == id]:
            del versions[version]


def _with_parents(path: str) -> list[str]:
    """List a path and its parents from the root: `/a/b` → `/`, `/a`, `/a/b`."""
    check_path(path)
    segments = path.split("/")
    parents = ["/".join(segments[: n + 1]) for n in range(1, len(segments))]
    return ["/"] if path == "/" else ["/", *parents]
