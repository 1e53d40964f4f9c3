"""What a KMS holds, as far as a volume needs it: folders, secrets, lists with imports. Pure."""

import dataclasses
from collections.abc import Mapping

from provider_kms import errors, sealed


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """What one list call can cover.

    Attributes:
        project: project id.
        environment: environment slug.
        path: begins with ``/``, no trailing slash but for the root.
        recursive: with all folders below it.
        expand: with references in values replaced by what they refer to.
    """

    project: str
    environment: str
    path: str
    recursive: bool = False
    expand: bool = False

    def place(self, key: str | None = None) -> errors.Place:
        """Return the same for an error's sentence."""
        return errors.Place(self.environment, self.path, key)


@dataclasses.dataclass(frozen=True, slots=True)
class Secret:
    """One secret as the KMS sent it.

    Attributes:
        id: changes when a secret is deleted and made anew.
        key: its name.
        path: folder where it really lies; for an imported one the source's.
        version: counts from 1; with `id` it names the content, unless references are expanded.
        value: UTF-8 bytes exactly as stored; None if the KMS hides it from this identity.
    """

    id: str
    key: str
    path: str
    version: int
    value: sealed.Sealed[bytes] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """Answer to one list call.

    Attributes:
        secrets: of the folder itself, and of those below it if asked recursively.
        imports: blocks of imported secrets in the folder's configured order.
    """

    secrets: tuple[Secret, ...]
    imports: tuple[tuple[Secret, ...], ...] = ()

    def merged(self, folder: Folder) -> Mapping[tuple[str, str], Secret]:
        """Return (folder relative to the listed one, key) → secret.

        A secret of the folder itself goes before an imported one, a later block before an
        earlier one, and inside a block the first entry counts: what a single read answers.
        """
        found: dict[tuple[str, str], Secret] = {}
        for secret in self.secrets:
            found.setdefault((relative(secret.path, folder), secret.key), secret)
        for block in reversed(self.imports):
            for secret in block:
                found.setdefault(("", secret.key), secret)
        return found

    def size_bytes(self) -> int:
        """Return about how much memory the values take."""
        everything = (*self.secrets, *(secret for block in self.imports for secret in block))
        return sum(size_bytes(secret) for secret in everything)


def size_bytes(secret: Secret) -> int:
    """Return about how much memory one secret takes."""
    return 400 + len(secret.key) + (len(secret.value.open()) if secret.value is not None else 0)


def relative(path: str, folder: Folder) -> str:
    """Return a folder's path below the listed one, "" for that itself."""
    if not folder.recursive or path == folder.path:
        return ""
    return path.removeprefix(folder.path.rstrip("/")).strip("/")
