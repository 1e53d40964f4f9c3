import textwrap

import pytest

from devkit.kms import docnode, identities, seed_identities


def parse(text, projects=None):
    node = docnode.parse(textwrap.dedent(text))
    return seed_identities.parse("I", node, projects or {})


def invalid(text, projects=None):
    with pytest.raises(docnode.Invalid) as caught:
        parse(text, projects)
    return str(caught.value)


def test_nothing_but_the_id():
    identity = parse("{}")
    assert identity == identities.Identity(id="I", name="I")
    assert identity.access_token_ttl_s == identity.access_token_max_ttl_s == 2_592_000


def test_everything():
    identity = parse(
        """
        name: shop front
        organization: acme
        kubernetes:
          allowedNamespaces: [shop, team-*]
          allowedNames: front, back
          allowedAudience: kms
          kubernetesHost: https://127.0.0.1:6443
          tokenReviewerJwt: t
          caCertificate: pem
          tokenReviewMode: gateway
        universal: {clientId: c, clientSecret: s}
        accessTokenTTL: 300
        accessTokenMaxTTL: 600
        accessTokenNumUsesLimit: 5
        accessTokenTrustedIps: [127.0.0.1, 10.0.0.0/8]
        projects:
          shop:
            - {actions: [read], environment: prod, path: /app, keys: [DB_*, CERT]}
            - {actions: [describe]}
          P: []
        """,
        {"shop": "P1", "P": "P"},
    )
    assert identity == identities.Identity(
        id="I",
        name="shop front",
        organization="acme",
        kubernetes=identities.KubernetesAuth(
            allowed_namespaces=("shop", "team-*"),
            allowed_names=("front", "back"),
            allowed_audience="kms",
            kubernetes_host="https://127.0.0.1:6443",
            token_reviewer_jwt="t",
            ca_certificate="pem",
            token_review_mode="gateway",
        ),
        universal=identities.UniversalAuth(client_id="c", client_secret="s"),
        access_token_ttl_s=300,
        access_token_max_ttl_s=600,
        access_token_uses_limit=5,
        trusted_ips=("127.0.0.1/32", "10.0.0.0/8"),
        projects={
            "P1": (
                identities.Rule(frozenset({"read"}), "prod", "/app", "DB_*"),
                identities.Rule(frozenset({"read"}), "prod", "/app", "CERT"),
                identities.Rule(frozenset({"describe"})),
            ),
            "P": (),
        },
    )


def test_an_empty_kubernetes_section_admits_every_service_account():
    assert parse("kubernetes:").kubernetes == identities.KubernetesAuth()


def test_a_lower_maximum_lowers_the_lifetime():
    identity = parse("accessTokenMaxTTL: 60")
    assert (identity.access_token_ttl_s, identity.access_token_max_ttl_s) == (60, 60)
    assert parse("accessTokenMaxTTL: 0").access_token_ttl_s == 2_592_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: 1", "line 1, x: unknown field"),
        ("accessTokenTTL: 315360001", "accessTokenTTL: expected a number from 0 to 315360000"),
        (
            "accessTokenTTL: 20\naccessTokenMaxTTL: 10",
            "accessTokenTTL must not be above accessTokenMaxTTL",
        ),
        ("accessTokenTTL: 5m", "accessTokenTTL: expected a whole number, not '5m'"),
        ("accessTokenTrustedIps: [x]", "accessTokenTrustedIps[0]: no IP address or network"),
        ("universal: {clientId: c}", "universal: needs the field clientSecret"),
        ("kubernetes: {audience: x}", "kubernetes.audience: unknown field"),
        ("projects:\n  none: []", "line 2, projects.none: no such project"),
        ("projects: {shop: [{}]}", "projects.shop[0]: needs the field actions"),
        ("projects: {shop: [{actions: [write]}]}", "shop[0].actions[0]: expected describe or read"),
    ],
)
def test_errors_name_line_and_path(text, message):
    assert message in invalid(text, {"shop": "P"})
