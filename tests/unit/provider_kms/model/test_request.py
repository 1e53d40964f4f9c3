import json
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_kms import errors, sealed
from provider_kms.model import objects, request, site
from tests.unit.provider_kms.model.test_token import jwt

SUBJECT = "system:serviceaccount:shop:front"
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"
BASE: dict[str, str] = {
    "authMethod": "kubernetes",
    "identityId": "I",
    "projectId": "P",
    "envSlug": "prod",
    "secrets": '[{"secretKey": "A", "fileName": "a"}]',
    "secretProviderClass": "front",
    "csi.storage.k8s.io/ephemeral": "true",
    "csi.storage.k8s.io/pod.name": "front-1",
    "csi.storage.k8s.io/pod.namespace": "shop",
    "csi.storage.k8s.io/pod.uid": "uid-1",
    "csi.storage.k8s.io/serviceAccount.name": "front",
    TOKENS: json.dumps({"kms": {"token": jwt({"sub": SUBJECT}), "expirationTimestamp": ""}}),
}
POLICY = site.Policy(default="https://kms.example.com")


def parse(published: str = "null", **changes: str | None) -> request.Request:
    attributes = {k: v for k, v in (BASE | changes).items() if v is not None}
    return parse_raw(json.dumps(attributes), published)


def parse_raw(attributes: str, published: str = "null", permission: str = "420") -> request.Request:
    return request.parse(
        attributes,
        published,
        permission,
        "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/vol/mount",
        refresh=False,
        policy=POLICY,
        api_version="v3",
    )


def test_a_usual_request() -> None:
    found = parse()

    assert found.pod == request.Pod("shop", "front-1", "uid-1", "front")
    assert found.class_name == "front"
    assert [str(one) for one in found.sites] == ["https://kms.example.com/api"]
    assert found.identity.method == "kubernetes"
    assert (found.identity.id, found.identity.audience) == ("I", "kms")
    assert found.identity.holder == SUBJECT
    assert (found.project, found.environment, found.mode) == ("P", "prod", 420)
    assert found.entries == (objects.Entry(path="/", file="a", key="A"),)
    assert (found.window_s, found.offline_grace_s, found.expand) == (None, 0.0, False)
    assert (found.api_version, found.volume, found.ca_pem) == ("v3", "vol", "")
    assert found.warnings == ()


def test_options() -> None:
    found = parse(
        kmsUrl="https://a.example.com, https://b.example.com",
        windowDuration="5m",
        offlineGrace="24h",
        expandReferences="true",
        apiVersion="v4",
        useDefaultAudience="false",
    )

    assert [one.host for one in found.sites] == ["a.example.com", "b.example.com"]
    assert (found.window_s, found.offline_grace_s) == (300.0, 86400.0)
    assert (found.expand, found.api_version) == (True, "v4")


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"authMethod": None}, "authMethod"),
        ({"authMethod": "universal"}, "authMethod"),
        ({"authMethod": "Kubernetes"}, "authMethod"),
        ({"identityId": None}, "identityId"),
        ({"identityId": " "}, "identityId"),
        ({"identityId": "a\nb"}, "identityId"),
        ({"identityId": "x" * 257}, "identityId"),
        ({"projectId": ""}, "projectId"),
        ({"envSlug": None}, "envSlug"),
        ({"secrets": None}, "secrets"),
        ({"kmsUrl": "kms"}, "kmsUrl"),
        ({"windowDuration": "5"}, "windowDuration"),
        ({"windowDuration": "0"}, "windowDuration"),
        ({"windowDuration": "-1s"}, "windowDuration"),
        ({"windowDuration": "9000h"}, "windowDuration"),
        ({"windowDuration": "5m", "secretObjects": "x"}, "windowDuration"),
        ({"windowDuration": "5m", "secrets": "[{keys: '*'}]"}, "windowDuration"),
        ({"offlineGrace": "1d"}, "offlineGrace"),
        ({"useDefaultAudience": "True"}, "useDefaultAudience"),
        ({"useDefaultAudience": "yes"}, "useDefaultAudience"),
        ({"useDefaultAudience": "yes", "authMethod": "universal-auth"}, "useDefaultAudience"),
        ({"expandReferences": "1"}, "expandReferences"),
        ({"apiVersion": "v5"}, "apiVersion"),
        ({"caCertificate": "nothing"}, "caCertificate"),
        ({"caCertificate": "-----BEGIN CERTIFICATE-----" * 10_000}, "caCertificate"),
        ({TOKENS: "marker"}, TOKENS),
        (
            {"useDefaultAudience": "true", TOKENS: None, "csi.storage.k8s.io/pod.uid": ""},
            "useDefaultAudience",
        ),
    ],
)
def test_faults_are_named(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse(**changes)
    assert str(caught.value).startswith(parameter)
    assert "marker" not in str(caught.value)


def test_a_window_may_be_used_with_a_bundle() -> None:
    found = parse(windowDuration="5m", secrets="[{keys: '*', format: json, fileName: all}]")

    assert found.window_s == 300


class TestTokens:
    def test_of_another_audience(self) -> None:
        tokens = '{"b": {"token": "x"}, "a": {"token": "y"}}'

        with pytest.raises(errors.TokenAbsent) as caught:
            parse(**{TOKENS: tokens})
        assert str(caught.value).endswith('for audience "kms"; audiences present: "a", "b"')

    def test_none(self) -> None:
        with pytest.raises(errors.TokenAbsent, match="audiences present: none"):
            parse(**{TOKENS: None})

    def test_of_the_named_audience(self) -> None:
        found = parse(audience="b", **{TOKENS: '{"b": {"token": "x"}}'})

        assert found.identity.audience == "b"
        assert found.identity.proof == sealed.Sealed("x")

    def test_of_the_old_audience(self) -> None:
        found = parse(**{TOKENS: '{"infisical": {"token": "x"}}'})

        assert found.identity.audience == "infisical"
        assert len(found.warnings) == 1

    def test_the_old_audience_is_no_stand_in_for_a_named_one(self) -> None:
        with pytest.raises(errors.TokenAbsent):
            parse(audience="kms", **{TOKENS: '{"infisical": {"token": "x"}}'})

    def test_in_the_published_secrets(self) -> None:
        published = json.dumps({TOKENS: '{"kms": {"token": "x"}}'})

        assert parse(published, **{TOKENS: None}).identity.proof == sealed.Sealed("x")

    def test_of_the_default_audience(self) -> None:
        found = parse(useDefaultAudience="true", **{TOKENS: '{"": {"token": "x"}}'})

        assert (found.identity.audience, found.identity.proof) == ("", sealed.Sealed("x"))

    def test_to_be_made(self) -> None:
        found = parse(useDefaultAudience="true")

        assert found.identity == request.Identity("kubernetes", "I", "", None, SUBJECT)

    @pytest.mark.parametrize(
        "token", ["opaque", jwt({"sub": "system:serviceaccount:shop:other"}), jwt({})]
    )
    def test_that_do_not_say_whose_they_are_share_with_nobody(self, token: str) -> None:
        found = parse(**{TOKENS: json.dumps({"kms": {"token": token}})})

        assert found.identity.holder == sealed.digest(token)

    def test_are_not_seen(self) -> None:
        marker = secrets.token_hex(8)
        found = parse(**{TOKENS: json.dumps({"kms": {"token": marker}})})

        assert marker not in repr(found)


class TestUniversalAuth:
    def test_client_and_secret(self) -> None:
        found = parse(
            '{"clientId": " c ", "clientSecret": "s"}',
            authMethod="universal-auth",
            identityId=None,
            **{TOKENS: None},
        )

        assert found.identity == request.Identity(
            "universal-auth", "c", "", sealed.Sealed("s"), sealed.digest("s")
        )

    @pytest.mark.parametrize("published", ["", "null", "{}", '{"clientId": "c"}'])
    def test_missing(self, published: str) -> None:
        with pytest.raises(errors.CredentialAbsent):
            parse(published, authMethod="universal-auth")

    def test_no_plain_text(self) -> None:
        with pytest.raises(errors.InvalidRequest) as caught:
            parse('{"clientId": "c", "clientSecret": "mar ker"}', authMethod="universal-auth")
        assert "mar ker" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "marker",
        "[]",
        '"x"',
        "1",
        '{"a": 1}',
        '{"a": {}}',
        "{",
        "[" * 99_999,
        '{"a": "\\ud800"}',
        '{"\\ud800": ""}',
        "9" * 5000,
        "NaN",
    ],
    ids=range(13),
)
def test_attributes_that_are_none(text: str) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        parse_raw(text)
    assert caught.value.code is errors.Code.INVALID_ARGUMENT
    assert "marker" not in str(caught.value)


def test_null_reads_as_empty() -> None:
    attributes = BASE | {"audience": None, "windowDuration": None}

    assert parse_raw(json.dumps(attributes)).identity.audience == "kms"


@pytest.mark.parametrize("text", ["[]", "1", '{"a": 1}', "marker"])
def test_published_secrets_that_are_none(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^secrets of nodePublishSecretRef") as caught:
        parse(text)
    assert "marker" not in str(caught.value)


@pytest.mark.parametrize(("text", "mode"), [("420", 420), ("0", 0), ("511", 511), (" 384 ", 384)])
def test_permissions(text: str, mode: int) -> None:
    assert parse_raw(json.dumps(BASE), permission=text).mode == mode


@pytest.mark.parametrize("text", ["", "512", "-1", '"420"', "0644", "4.2", "true", "null", "[]"])
def test_no_permissions(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"^permission"):
        parse_raw(json.dumps(BASE), permission=text)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/vol/mount", "vol"),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi//vol//mount/", "vol"),
        ("c:\\kubelet\\pods\\u\\volumes\\kubernetes.io~csi\\vol\\mount", "vol"),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/vol", ""),
        ("/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/vol/mount/x", ""),
        ("/elsewhere", ""),
        ("", ""),
    ],
)
def test_volume_names(path: str, name: str) -> None:
    assert request.volume_name(path) == name


def test_unknown_parameters_are_told() -> None:
    found = parse(proyectId="x", infisicalUrl="https://kms.example.com")

    assert found.warnings == (
        "unknown parameter 'proyectId'",
        "infisicalUrl is an old name of kmsUrl",
    )


def test_the_new_name_of_the_url_goes_first() -> None:
    found = parse(kmsUrl="https://new.example.com", infisicalUrl="https://old.example.com")

    assert [one.host for one in found.sites] == ["new.example.com"]


NAMES = st.sampled_from(
    [
        *BASE,
        "kmsUrl",
        "infisicalUrl",
        "caCertificate",
        "audience",
        "useDefaultAudience",
        "windowDuration",
        "offlineGrace",
        "apiVersion",
        "expandReferences",
        "secretObjects",
        "x",
    ]
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "true",
            "kubernetes",
            "universal-auth",
            "5m",
            "https://h",
            "v4",
            "",
            "{}",
            "[{secretKey: A, fileName: a}]",
            '{"kms": {"token": "x"}}',
        ]
    ),
)


@given(
    st.dictionaries(NAMES, TEXTS | st.none() | st.integers()),
    st.one_of(st.text(max_size=20), st.just('{"clientId": "a", "clientSecret": "b"}')),
    st.one_of(st.text(max_size=5), st.just("420")),
    st.text(max_size=60),
)
def test_any_request_is_read_or_refused(
    changes: dict[str, Any], published: str, permission: str, target: str
) -> None:
    try:
        found = request.parse(
            json.dumps(BASE | changes),
            published,
            permission,
            target,
            refresh=True,
            policy=POLICY,
            api_version="v3",
        )
    except errors.ProviderError as error:
        assert str(error)  # noqa: PT017
        return
    assert found.sites
    assert found.entries


@given(st.text(max_size=100))
def test_any_attributes_are_read_or_refused(text: str) -> None:
    with pytest.raises(errors.ProviderError):
        parse_raw(text)
