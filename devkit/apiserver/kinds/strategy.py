"""What the server does to objects of a kind on their way in: fields it owns, defaults, checks.

Source: the registry strategies of the API server.
"""

from typing import Any

from devkit.apiserver import errors, metadata, objects


class Strategy:
    """The rules of a kind without rules of its own. Other kinds override what differs.

    Objects handed in have clean metadata and may be changed in place by the `prepare` methods.
    """

    name_rule: metadata.NameRule = staticmethod(metadata.subdomain)

    def decode(self, obj: objects.Object) -> list[str]:
        """Drop what the kind does not know; return the dropped paths.

        Raises: errors.StatusError: 400 if a value cannot be of this kind.
        """
        return []

    def prepare_create(self, obj: objects.Object) -> None:
        """Set defaults and fields that are the server's at creation."""

    def prepare_update(self, new: objects.Object, old: objects.Object) -> None:
        """Set defaults and fields that an update cannot change."""

    def validate(self, obj: objects.Object) -> list[errors.Cause]:
        """Return what is wrong with the object by itself."""
        return []

    def validate_update(self, new: objects.Object, old: objects.Object) -> list[errors.Cause]:
        """Return which changes are not allowed."""
        return []


class PathNamed(Strategy):
    """Kinds whose names are bound only by what a path can carry, such as RBAC's."""

    name_rule: metadata.NameRule = staticmethod(metadata.path_segment)


def setdefault(obj: objects.Object, key: str, value: Any) -> Any:
    """Set a field that is absent or null; return what stands there."""
    if obj.get(key) is None:
        obj[key] = value
    return obj[key]


def mistyped(kind: str, why: str, version: str = "v1") -> errors.StatusError:
    """Return the 400 of a body that cannot be decoded as its kind."""
    return errors.bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')
