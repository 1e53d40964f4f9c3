"""The seed file: a world written down in YAML.

    projects:
      shop:                                # slug, and id unless `id` says otherwise
        id: 7d3f…                          # optional, as is everything but environments
        organization: default
        type: secret-manager
        environments:
          prod:
            /:                             # folders by path; parents need not be listed
              secrets:
                DB_PASSWORD: hunter2       # short form: key and value
            /app:
              imports: [/shared, {environment: dev, path: /base}]    # the last one wins
              secrets:
                PORT: 0123                 # taken as written: the text 0123
                CERT:                      # long form
                  value: |
                    several lines; one newline at the end survives, as in the KMS
                  id: s2                   # default: made up; another id is a new secret
                  version: 3               # default: counts by itself; a number is the least
                  comment: text
                  skipMultilineEncoding: true
                  tags: [blue]
                  metadata: {owner: web}
                  hidden: true             # masked whatever is asked
    identities:
      I:                                   # the identity's id
        name: shop front
        organization: default              # "" is an identity that left it
        kubernetes:
          allowedNamespaces: [shop, team-*]    # globs; left out: any
          allowedNames: [front]
          allowedAudience: kms             # left out: none is asked for
          kubernetesHost: https://…        # reviews tokens instead of the server's own reviewer
          tokenReviewerJwt: …
          caCertificate: …
          tokenReviewMode: api
        universal: {clientId: …, clientSecret: …}
        accessTokenTTL: 300                # seconds; default 2592000, as the KMS has it
        accessTokenMaxTTL: 0
        accessTokenNumUsesLimit: 0
        accessTokenTrustedIps: [127.0.0.0/8]
        projects:                          # left out: reads all of its organisation's projects
          shop:                            # slug or id; no rules, no rights
            - {actions: [read], environment: prod, path: /app/**, keys: [DB_*, CERT]}
            - {actions: [describe]}        # read brings describe; the rest defaults to all

    settings:
      delayMs: 20                          # added to every answer
      maintenance: true                    # everything but GET answers 500
      rateLimits: {secrets: 40, write: 200, read: 60, all: 600}    # a minute; left out: off
    faults:                                # armed anew with every save; see `faults`
      - {route: GET /api/v3/secrets/raw, status: 503, times: 3}
      - {route: "*", where: DB_PASSWORD, retryAfter: 1}    # where: part of path or query
      - {status: 418, headers: {x-a: b}, body: text, error: Teapot, times: always}
      # instead of `status`: delayMs, html: 200, redirect: URL, reset: true, truncateAfterBytes,
      # or chunkBytes with chunkIntervalMs

Every scalar is taken as the text that was written, so no value changes its meaning by looking like
a number. What is wrong is told with its line and its YAML path. See `docnode` for the reading.
"""

import pathlib
from dataclasses import dataclass, field

from devkit.kms import (
    behaviour,
    docnode,
    faults,
    identities,
    model,
    seed_behaviour,
    seed_identities,
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A parsed seed file."""

    projects: tuple[model.ProjectSpec, ...] = ()
    known: tuple[identities.Identity, ...] = ()
    settings: behaviour.Settings = field(default_factory=behaviour.Settings)
    planned: tuple[faults.Planned, ...] = ()

    def apply(self, world: model.World, target: faults.Faults | None = None) -> None:
        """Make a world, and a server's faults, what the seed says; once only."""
        world.apply(self.projects, self.known, self.settings)
        if target is not None:
            target.seed(self.planned)


def load(path: pathlib.Path) -> Seed:
    """Read a seed file.

    Raises: docnode.Invalid: it is no YAML or breaks a rule; OSError: it cannot be read.
    """
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> Seed:
    """Parse a seed.

    Raises: docnode.Invalid: with line, column and YAML path.
    """
    top = docnode.parse(text).fields("projects", "identities", "settings", "faults")
    projects = _projects(top.get("projects", docnode.EMPTY))
    ids = {spec.slug: spec.id for spec in projects} | {spec.id: spec.id for spec in projects}
    return Seed(
        projects=projects,
        known=tuple(
            seed_identities.parse(id, node, ids)
            for id, node in top.get("identities", docnode.EMPTY).items()
        ),
        settings=seed_behaviour.settings(top.get("settings", docnode.EMPTY)),
        planned=tuple(
            seed_behaviour.fault(node) for node in top.get("faults", docnode.EMPTY).sequence()
        ),
    )


def _projects(node: docnode.Node) -> tuple[model.ProjectSpec, ...]:
    found: dict[str, model.ProjectSpec] = {}
    for slug, each in node.items():
        spec = _project(slug, each)
        if spec.id in found:
            raise each.invalid(f"another project has the id {spec.id}")
        found[spec.id] = spec
    return tuple(found.values())


def _project(slug: str, node: docnode.Node) -> model.ProjectSpec:
    fields = node.fields("id", "organization", "type", "environments")
    return model.ProjectSpec(
        id=fields["id"].text() if "id" in fields else slug,
        slug=slug,
        organization=(
            fields["organization"].text() if "organization" in fields else identities.ORGANIZATION
        ),
        type=fields["type"].text() if "type" in fields else "secret-manager",
        environments={
            environment: {path: _folder(path, environment, each) for path, each in folders.items()}
            for environment, folders in fields.get("environments", docnode.EMPTY).items()
        },
    )


def _folder(path: str, environment: str, node: docnode.Node) -> model.FolderSpec:
    _path(path, node)
    fields = node.fields("secrets", "imports")
    return model.FolderSpec(
        secrets=dict(
            (_key(key, each), _secret(each))
            for key, each in fields.get("secrets", docnode.EMPTY).items()
        ),
        imports=tuple(
            _import(environment, each) for each in fields.get("imports", docnode.EMPTY).sequence()
        ),
    )


def _path(path: str, node: docnode.Node) -> str:
    try:
        model.check_path(path)
    except model.Rejected as e:
        raise node.invalid(str(e)) from e
    return path


def _key(key: str, node: docnode.Node) -> str:
    try:
        return model.check_key(key)
    except model.Rejected as e:
        raise node.invalid(str(e)) from e


def _import(environment: str, node: docnode.Node) -> model.Import:
    if node.is_scalar():
        return model.Import(environment, _path(node.text(), node))
    fields = node.fields("environment", "path", "replicated", required=("path",))
    return model.Import(
        fields["environment"].text() if "environment" in fields else environment,
        _path(fields["path"].text(), fields["path"]),
        "replicated" in fields and fields["replicated"].boolean(),
    )


def _secret(node: docnode.Node) -> model.SecretSpec:
    if node.is_scalar():
        return model.SecretSpec(value=node.text())
    fields = node.fields(
        "value",
        "id",
        "version",
        "comment",
        "skipMultilineEncoding",
        "tags",
        "metadata",
        "hidden",
        required=("value",),
    )
    return model.SecretSpec(
        value=fields["value"].text(),
        id=fields["id"].text() if "id" in fields else None,
        version=fields["version"].integer(1) if "version" in fields else None,
        comment=fields["comment"].text() if "comment" in fields else None,
        skip_multiline_encoding=(
            "skipMultilineEncoding" in fields and fields["skipMultilineEncoding"].boolean()
        ),
        tags=tuple(each.text() for each in fields.get("tags", docnode.EMPTY).sequence()),
        metadata=tuple(
            (key, each.text()) for key, each in fields.get("metadata", docnode.EMPTY).items()
        ),
        hidden="hidden" in fields and fields["hidden"].boolean(),
    )
