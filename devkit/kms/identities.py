"""Machine identities: how they log in, what their tokens are worth, what they may read.

Source: kms-http-api §1.3 (login), §1.4 (bounds), §2.3 and §2.9 (describe and read).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from devkit.kms import globs

ORGANIZATION = "default"
LIFETIME_S = 2_592_000
LIFETIME_BOUND_S = 315_360_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesAuth:
    """How pods log in as an identity.

    Args:
        allowed_namespaces: exact names or globs; empty allows any.
        allowed_names: service-account names, same rules.
        allowed_audience: "" asks for no audience.
        kubernetes_host: API server that reviews tokens; None leaves it to the server's reviewer,
            "" is a configuration without one (login answers 400).
        token_reviewer_jwt: bearer of the review; None sends the submitted token itself.
        ca_certificate: PEM that API server is checked against; None means the system's roots.
        token_review_mode: "api", or "gateway", which nothing here can serve (400).
    """

    allowed_namespaces: tuple[str, ...] = ()
    allowed_names: tuple[str, ...] = ()
    allowed_audience: str = ""
    kubernetes_host: str | None = None
    token_reviewer_jwt: str | None = field(default=None, repr=False)
    ca_certificate: str | None = None
    token_review_mode: str = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class UniversalAuth:
    """A client id and secret."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rule:
    """One permission: these actions on keys that match all three globs.

    `read` is reading the value; it brings `describe`, which is knowing that the key exists.
    """

    actions: frozenset[str] = frozenset({"describe", "read"})
    environment: str = "*"
    path: str = "/**"
    key: str = "**"

    def allows(self, action: str, environment: str, path: str, key: str | None) -> bool:
        """Tell whether the rule allows the action; key None asks about any key there."""
        return (
            (action in self.actions or (action == "describe" and "read" in self.actions))
            and globs.match(self.environment, environment)
            and globs.match(self.path, path)
            and (key is None or globs.match(self.key, key))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A machine identity.

    Args:
        organization: slug; "" is an identity that left its organisation.
        access_token_ttl_s: lifetime of a token, 0 for no expiry.
        access_token_max_ttl_s: ceiling for renewals counted from creation, 0 for none.
        access_token_uses_limit: requests a token is good for, 0 for any number.
        trusted_ips: networks tokens may be used from; empty means everywhere.
        projects: project id → rules; None means all of every project in the organisation.
    """

    id: str
    name: str = ""
    organization: str = ORGANIZATION
    kubernetes: KubernetesAuth | None = None
    universal: UniversalAuth | None = None
    access_token_ttl_s: int = LIFETIME_S
    access_token_max_ttl_s: int = LIFETIME_S
    access_token_uses_limit: int = 0
    trusted_ips: tuple[str, ...] = ()
    projects: Mapping[str, Sequence[Rule]] | None = None

    def is_member(self, project: str) -> bool:
        """Tell whether the identity belongs to a project of its organisation."""
        return self.projects is None or project in self.projects

    def may(
        self, action: str, project: str, environment: str, path: str, key: str | None = None
    ) -> bool:
        """Tell whether the identity may `describe` or `read` a key, or, if None, any key there."""
        if self.projects is None:
            return True
        rules = self.projects.get(project, ())
        return any(rule.allows(action, environment, path, key) for rule in rules)
