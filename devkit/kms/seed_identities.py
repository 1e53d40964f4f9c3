"""Identities of a seed file; the form is described in `seed`."""

import ipaddress
from collections.abc import Mapping

from devkit.kms import docnode, identities

_LIFETIME = (0, identities.LIFETIME_BOUND_S)


def parse(id: str, node: docnode.Node, projects: Mapping[str, str]) -> identities.Identity:
    """Parse one identity.

    Args:
        projects: slug or id → id of the projects that exist.
    Raises: docnode.Invalid: with line and YAML path.
    """
    fields = node.fields(
        "name",
        "organization",
        "kubernetes",
        "universal",
        "accessTokenTTL",
        "accessTokenMaxTTL",
        "accessTokenNumUsesLimit",
        "accessTokenTrustedIps",
        "projects",
    )

    def lifetime_s(name: str) -> int:
        return fields[name].integer(*_LIFETIME) if name in fields else identities.LIFETIME_S

    max_ttl_s = lifetime_s("accessTokenMaxTTL")
    # An identity that only lowers the maximum means the lifetime to follow.
    ttl_s = lifetime_s("accessTokenTTL")
    if max_ttl_s and "accessTokenTTL" not in fields:
        ttl_s = min(ttl_s, max_ttl_s)
    if max_ttl_s and ttl_s > max_ttl_s:
        raise node.invalid("accessTokenTTL must not be above accessTokenMaxTTL")
    return identities.Identity(
        id=id,
        name=fields["name"].text() if "name" in fields else id,
        organization=(
            fields["organization"].text() if "organization" in fields else identities.ORGANIZATION
        ),
        kubernetes=_kubernetes(fields["kubernetes"]) if "kubernetes" in fields else None,
        universal=_universal(fields["universal"]) if "universal" in fields else None,
        access_token_ttl_s=ttl_s,
        access_token_max_ttl_s=max_ttl_s,
        access_token_uses_limit=fields.get("accessTokenNumUsesLimit", docnode.ZERO).integer(0),
        trusted_ips=tuple(
            _network(each) for each in fields.get("accessTokenTrustedIps", docnode.EMPTY).sequence()
        ),
        projects=_projects(fields["projects"], projects) if "projects" in fields else None,
    )


def _kubernetes(node: docnode.Node) -> identities.KubernetesAuth:
    fields = node.fields(
        "allowedNamespaces",
        "allowedNames",
        "allowedAudience",
        "kubernetesHost",
        "tokenReviewerJwt",
        "caCertificate",
        "tokenReviewMode",
    )

    def text(name: str) -> str | None:
        return fields[name].text() if name in fields else None

    return identities.KubernetesAuth(
        allowed_namespaces=_texts(fields.get("allowedNamespaces", docnode.EMPTY)),
        allowed_names=_texts(fields.get("allowedNames", docnode.EMPTY)),
        allowed_audience=text("allowedAudience") or "",
        kubernetes_host=text("kubernetesHost"),
        token_reviewer_jwt=text("tokenReviewerJwt"),
        ca_certificate=text("caCertificate"),
        token_review_mode=text("tokenReviewMode") or "api",
    )


def _universal(node: docnode.Node) -> identities.UniversalAuth:
    names = ("clientId", "clientSecret")
    fields = node.fields(*names, required=names)
    return identities.UniversalAuth(
        client_id=fields["clientId"].text(), client_secret=fields["clientSecret"].text()
    )


def _network(node: docnode.Node) -> str:
    try:
        return str(ipaddress.ip_network(node.text(), strict=False))
    except ValueError as e:
        raise node.invalid(f"no IP address or network: {node.text()!r}") from e


def _projects(
    node: docnode.Node, known: Mapping[str, str]
) -> dict[str, tuple[identities.Rule, ...]]:
    found: dict[str, tuple[identities.Rule, ...]] = {}
    for name, each in node.items():
        if name not in known:
            raise each.invalid("no such project")
        found[known[name]] = tuple(rule for one in each.sequence() for rule in _rules(one))
    return found


def _rules(node: docnode.Node) -> list[identities.Rule]:
    """Parse a rule; several keys make several rules."""
    fields = node.fields("actions", "environment", "path", "keys", required=("actions",))
    actions = []
    for each in fields["actions"].sequence():
        if each.text() not in ("describe", "read"):
            raise each.invalid("expected describe or read")
        actions.append(each.text())
    return [
        identities.Rule(
            frozenset(actions),
            fields["environment"].text() if "environment" in fields else "*",
            fields["path"].text() if "path" in fields else "/**",
            key,
        )
        for key in (_texts(fields["keys"]) if "keys" in fields else ("**",))
    ]


def _texts(node: docnode.Node) -> tuple[str, ...]:
    """Take a list of texts, or one text with commas, as the KMS writes such lists."""
    if node.is_scalar():
        return tuple(part for part in (each.strip() for each in node.text().split(",")) if part)
    return tuple(each.text() for each in node.sequence())
