"""Reading secrets: the single read and the list, for v3 and v4 alike.

Pure look-ups in a world whose lock the caller holds. What differs between the API versions (names
and defaults of parameters) is settled before: see `routes`.

Source: kms-http-api §2.1 to §2.9.
"""

import re
from dataclasses import dataclass

from devkit.kms import errors, identities, imports, model, references, rendering

_SEGMENT = re.compile(r"[A-Za-z0-9_-]*")
_RECURSION = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to read: parameters as sent, None where they were not."""

    project_id: str | None
    project_slug: str | None
    environment: str | None
    path: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read; the filters hold for lists, version and type for single reads."""

    view_value: bool = True
    expand: bool = False
    include_imports: bool = False
    recursive: bool = False
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    version: float | None = None
    personal: bool = False


class Reader:
    """One identity's look at one environment of one project.

    Raises (constructor): errors.Refused: rows 4 to 8 of §2.9, in that order.
    """

    def __init__(
        self,
        world: model.World,
        identity: identities.Identity,
        place: Place,
        missing_error: str,
    ) -> None:
        self._identity = identity
        if place.project_id is None and place.project_slug is None:
            raise errors.bad_request("A project id or slug is needed")
        if not place.environment:
            raise errors.bad_request("An environment is needed")
        self._project = _find_project(world, identity, place)
        self._environment = place.environment
        self._path = _clean_path(place.path)
        self._folders = self._project.environments.get(self._environment, {})
        if self._path not in self._folders:
            raise errors.not_found(
                f"No folder {self._path} in environment {self._environment} of project"
                f" {self._project.id}",
                missing_error,
            )
        self._expander = references.Expander(self._project, identity)

    def single(self, key: str, options: Options) -> errors.JSON:
        """Read one secret.

        Raises: errors.Refused: rows 9 to 13 of §2.9, in that order.
        """
        if not self._may("describe", key):
            raise _permission_denied(self._environment, self._path, key)
        own = self._own(key, options)
        if own is not None:
            return self._render_own(own, options)
        if options.include_imports and not options.personal:
            for block in reversed(imports.resolve(self._project, self._environment, self._path)):
                for entry in block.secrets:
                    if entry.secret.key == key and self._may_imported("describe", entry):
                        return self._render_imported(block, entry, options)
        raise errors.not_found(f"No secret {key} in {self._environment} at {self._path}")

    def listing(self, options: Options) -> errors.JSON:
        """List a folder, with its descendants and imports where the options ask for them.

        Raises: errors.Refused: 403 when a secret of the folder itself may be described but not
            read, or when an expansion is not permitted.
        """
        paths = [self._path]
        if options.recursive:
            paths += sorted(path for path in self._folders if self._is_below(path))
        found, blocks = [], []
        for path in paths:
            for secret in self._folders[path].secrets.values():
                if self._may("describe", secret.key, path) and _fits(secret, options):
                    found.append(self._render_listed(secret, path, options))
            if options.include_imports:
                blocks += imports.resolve(self._project, self._environment, path)
        return {"secrets": found, "imports": self._render_blocks(blocks, options)}

    def _own(self, key: str, options: Options) -> model.Secret | None:
        folder = self._folders[self._path]
        if options.personal:
            return None
        if options.version is None:
            return folder.secrets.get(key)
        # Versions are whole numbers, so 1.5 finds nothing, just as 0 does.
        versions = {
            float(version): secret for version, secret in folder.history.get(key, {}).items()
        }
        return versions.get(options.version)

    def _render_own(self, secret: model.Secret, options: Options) -> errors.JSON:
        value = None
        if options.view_value:
            value = self._value(secret, self._environment, self._path, options)
            if not self._may("read", secret.key):
                raise _value_denied(secret.key)
        return rendering.own(secret, value, self._project.id, self._environment, self._path)

    def _render_listed(self, secret: model.Secret, path: str, options: Options) -> errors.JSON:
        readable = self._may("read", secret.key, path)
        if options.view_value and not readable and path == self._path:
            raise _value_denied(secret.key)
        value = None
        if options.view_value and readable:
            value = self._value(secret, self._environment, path, options, listing=True)
        return rendering.own(secret, value, self._project.id, self._environment, path)

    def _render_imported(
        self, block: imports.Block, entry: imports.Imported, options: Options
    ) -> errors.JSON:
        value = None
        if options.view_value:
            if not self._may_imported("read", entry):
                raise _value_denied(entry.secret.key)
            value = self._value(entry.secret, entry.environment, entry.path, options)
        return rendering.own(entry.secret, value, self._project.id, block.environment, block.path)

    def _render_blocks(self, blocks: list[imports.Block], options: Options) -> list[errors.JSON]:
        rendered = []
        for block in blocks:
            if not self._identity.may("describe", self._project.id, block.environment, block.path):
                continue
            entries = []
            for entry in block.secrets:
                if self._may_imported("describe", entry) and _fits(entry.secret, options):
                    value = None
                    if options.view_value and self._may_imported("read", entry):
                        value = self._value(
                            entry.secret, entry.environment, entry.path, options, listing=True
                        )
                    entries.append(rendering.imported(entry.secret, value, entry.environment))
            rendered.append(rendering.block(block, entries))
        return rendered

    def _value(
        self,
        secret: model.Secret,
        environment: str,
        path: str,
        options: Options,
        *,
        listing: bool = False,
    ) -> str:
        if not options.expand:
            return secret.value
        try:
            return self._expander.expand(secret, environment, path)
        except errors.Refused as e:
            if not listing:
                raise
            raise errors.Refused(e.status, e.error, e.message, details=[str(e.message)]) from e

    def _is_below(self, path: str) -> bool:
        prefix = "/" if self._path == "/" else self._path + "/"
        return (
            path != self._path
            and path.startswith(prefix)
            and path.removeprefix(prefix).count("/") < _RECURSION
        )

    def _may(self, action: str, key: str, path: str | None = None) -> bool:
        return self._identity.may(
            action, self._project.id, self._environment, self._path if path is None else path, key
        )

    def _may_imported(self, action: str, entry: imports.Imported) -> bool:
        return self._identity.may(
            action, self._project.id, entry.environment, entry.path, entry.secret.key
        )


def _find_project(world: model.World, identity: identities.Identity, place: Place) -> model.Project:
    if place.project_id is not None:
        project = world.projects.get(place.project_id)
    else:
        project = next(
            (
                each
                for each in world.projects.values()
                if each.slug == place.project_slug and each.organization == identity.organization
            ),
            None,
        )
    if project is None:
        raise errors.not_found(f"No project {place.project_id or place.project_slug}")
    if project.organization != identity.organization or not identity.is_member(project.id):
        raise errors.forbidden(
            "The request could not be allowed", "The identity is not a member of this project"
        )
    if project.type != "secret-manager":
        raise errors.bad_request("The project is not a secrets project")
    return project


def _clean_path(path: str) -> str:
    path = path.strip()
    if len(path) > 1:
        path = path.removesuffix("/")
    if not all(_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        raise errors.bad_request("secretPath holds a character outside A-Z a-z 0-9 _ -")
    return path


def _fits(secret: model.Secret, options: Options) -> bool:
    return (not options.tags or not set(options.tags).isdisjoint(secret.tags)) and (
        set(options.metadata) <= set(secret.metadata)
    )


def _permission_denied(environment: str, path: str, key: str) -> errors.Refused:
    conditions = {"environment": environment, "secretPath": path, "secretName": key}
    rule = {
        "action": "describeSecret",
        "inverted": False,
        "subject": "secrets",
        "conditions": conditions,
    }
    return errors.Refused(
        403, "PermissionDenied", "The identity may not describe this secret", details=[rule]
    )


def _value_denied(key: str) -> errors.Refused:
    return errors.forbidden(
        f"The identity may not read the value of {key}", "ForbiddenReadSecretError"
    )
