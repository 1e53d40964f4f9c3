"""What the server does to objects of a kind on their way in: fields it owns, defaults, checks.

Source: the registry strategies of the API server.
"""

from dataclasses import dataclass, field

from devkit.apiserver import errors, fieldsets, metadata, objects, schema
from devkit.apiserver.kinds import typed


@dataclass(slots=True)
class Decoded:
    """What decoding found: unknown fields it dropped, values that are none of those allowed."""

    dropped: list[str] = field(default_factory=list)
    causes: list[errors.Cause] = field(default_factory=list)


class Strategy:
    """The rules of a kind without rules of its own. Other kinds override what differs.

    Objects handed in may be changed in place by `decode` and the `prepare` methods.

    Args:
        kind: for messages.
        shape: the schema of the kind's fields.

    Attributes:
        empty: an object of the kind before anything is known of it.
    """

    name_rule: metadata.NameRule = staticmethod(metadata.subdomain)
    # A status is otherwise written through its subresource only.
    takes_status_at_creation = False
    # What becomes of dependants when a delete does not say.
    default_propagation = ""

    def __init__(self, kind: str, shape: schema.Schema) -> None:
        self.kind = kind
        self.shape = shape
        self.empty = fieldsets.zero(shape)

    def decode(self, obj: objects.Object) -> Decoded:
        """Drop what the kind does not know.

        Raises: errors.StatusError: 400 if a value cannot be of this kind.
        """
        return Decoded(*typed.decode(obj, self.shape, self.kind))

    def complete(self, obj: objects.Object) -> None:
        """Bring a decoded object into its stored form, with the defaults that all writes give.

        Here: the parts that are always there, be they empty.
        """
        typed.fill(obj, self.shape)

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
