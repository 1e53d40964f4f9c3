"""Expansion of `${…}` references in values.

One part names a key of the same folder; two or more name environment, folders and key. Nested to
depth 10, cycles stop, and what leads nowhere (or to an empty secret) stays in the value literally.
Callers hold the world's lock.

Source: kms-http-api §2.7.
"""

import re
from dataclasses import dataclass

from devkit.kms import errors, identities, model

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Expander:
    """Expands values of one project on behalf of one identity."""

    project: model.Project
    identity: identities.Identity

    def expand(self, secret: model.Secret, environment: str, path: str) -> str:
        """Return the secret's value with its references replaced.

        Args:
            environment: where the secret lives, and so where short references look; with `path`.
        Raises: errors.Refused: 403 ForbiddenError, the identity may not read a referenced secret.
        """
        if not _REFERENCE.search(secret.value):
            return secret.value
        trail = ((environment, path, secret.key),)
        value = self._expand(secret.value, environment, path, trail)
        if secret.skip_multiline_encoding and "\n" in value:
            return '"' + value.replace("\n", "\\n") + '"'
        return value

    def _expand(
        self, value: str, environment: str, path: str, trail: tuple[tuple[str, str, str], ...]
    ) -> str:
        def replacement(match: re.Match[str]) -> str:
            place = _place(match[1], environment, path)
            found = self._find(*place)
            if not found or place in trail or len(trail) > _DEPTH:
                return match[0]
            return self._expand(found, place[0], place[1], (*trail, place))

        return _REFERENCE.sub(replacement, value)

    def _find(self, environment: str, path: str, key: str) -> str:
        folder = self.project.environments.get(environment, {}).get(path)
        secret = folder.secrets.get(key) if folder else None
        if secret is None:
            return ""
        if not self.identity.may("read", self.project.id, environment, path, key):
            raise errors.forbidden(
                f"No permission to read the referenced secret {key} in {environment} at {path}"
            )
        return secret.value


def _place(reference: str, environment: str, path: str) -> tuple[str, str, str]:
    """Resolve a reference into environment, path and key."""
    parts = reference.split(".")
    if len(parts) == 1:
        return environment, path, reference
    return parts[0], "/" + "/".join(parts[1:-1]), parts[-1]
