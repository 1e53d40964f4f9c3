"""Imports of a folder, resolved into blocks.

Two levels, as the server does in effect: an import, and that import's own imports, whose secrets
are appended to the block that pulled them in. Callers hold the world's lock.

Source: kms-http-api §2.6.
"""

from dataclasses import dataclass

from devkit.kms import model


@dataclass(frozen=True, slots=True)
class Block:
    """One import with its secrets: its own first, then those of its imports, in order."""

    environment: str
    path: str
    folder_id: str
    secrets: tuple["Imported", ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A secret and the folder it really lives in, which decides about rights and references."""

    secret: model.Secret
    environment: str
    path: str


def resolve(project: model.Project, environment: str, path: str) -> list[Block]:
    """Resolve the imports of a folder that exists, in their configured order.

    Each (environment, path) appears once, the folder itself never; folders that do not exist are
    left out.
    """
    folder = project.environments[environment][path]
    seen = {(environment, path)}
    first = _unseen(project, folder, seen)
    blocks = []
    for link, source in first:
        secrets = _own(link, source)
        for deeper_link, deeper in _unseen(project, source, seen):
            secrets += _own(deeper_link, deeper)
        blocks.append(Block(link.environment, link.path, source.id, tuple(secrets)))
    return blocks


def _unseen(
    project: model.Project, folder: model.Folder, seen: set[tuple[str, str]]
) -> list[tuple[model.Import, model.Folder]]:
    found = []
    for link in folder.imports:
        place = (link.environment, link.path)
        source = project.environments.get(link.environment, {}).get(link.path)
        if source is not None and not link.replicated and place not in seen:
            seen.add(place)
            found.append((link, source))
    return found


def _own(link: model.Import, folder: model.Folder) -> list[Imported]:
    return [Imported(secret, link.environment, link.path) for secret in folder.secrets.values()]
