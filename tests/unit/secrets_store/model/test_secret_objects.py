"""From a class and the files of one answer to Secrets, by tables and by properties."""

import base64
import re
import secrets
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secrets_store.model import certificates, payload, provider_class, secret_objects

MARKER = secrets.token_hex(16)
"""In every file: no error may show it."""
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n{MARKER}".encode()
KEY = b"-----BEGIN PRIVATE KEY-----\nMAMCAQA=\n-----END PRIVATE KEY-----\n"

Entry = dict[str, Any]


def a_class(*entries: Entry, **annotations: str) -> provider_class.ProviderClass:
    metadata = {
        "namespace": "shop",
        "name": "cls",
        "annotations": {f"secrets-store.csi.k8s.io/{k}": v for k, v in annotations.items()},
    }
    return provider_class.ProviderClass.from_dict(
        {"metadata": metadata, "spec": {"secretObjects": list(entries)}}
    )


def entry(*data: tuple[str, str], name: str = "db", **more: Any) -> Entry:
    items = [{"objectName": path, "key": key} for path, key in data or [("a", "k")]]
    return {"secretName": name, "type": "Opaque", "data": items} | more


def files(**contents: bytes) -> dict[str, payload.File]:
    return {path: payload.File(value, 0o644) for path, value in contents.items()}


FILES = files(a=MARKER.encode(), b=b"\x00\xff", nested=b"1") | {
    "deep/er": payload.File(b"2", 0o600),
    "tls.crt": payload.File(CERTIFICATE, 0o644),
    "tls.key": payload.File(KEY, 0o644),
    "both.pem": payload.File(CERTIFICATE.replace(MARKER.encode(), b"") + KEY, 0o644),
}


def one(
    item: Entry, given: payload.Files = FILES, of_class: str | None = None
) -> secret_objects.Wanted:
    """Return the only Secret of a class with one entry; the class may have a deletion policy."""
    annotations = {} if of_class is None else {"deletion-policy": of_class}
    plan = secret_objects.plan(a_class(item, **annotations), given)
    assert plan.failed == ()
    (wanted,) = plan.wanted.values()
    return wanted


def reason(item: Entry, given: payload.Files = FILES) -> str:
    """Return why the only entry of a class failed."""
    plan = secret_objects.plan(a_class(item), given)
    assert plan.wanted == {}
    (failure,) = plan.failed
    assert MARKER not in str(failure)
    return failure.reason


def test_bytes_come_from_memory_as_they_are() -> None:
    wanted = one(entry(("a", "user"), ("b", "binary"), ("deep/er", "deep")))
    assert wanted.data == {"user": MARKER.encode(), "binary": b"\x00\xff", "deep": b"2"}
    assert MARKER not in repr(wanted)


def test_names_are_trimmed() -> None:
    item = entry((" a\n", "\tk "), name=" db ", type=" kubernetes.io/basic-auth\n")
    wanted = one(item)
    assert (wanted.name, wanted.type) == ("db", "kubernetes.io/basic-auth")
    assert wanted.data == {"k": MARKER.encode()}


@pytest.mark.parametrize("sort", ["", "  ", None])
def test_opaque_is_the_default_type(sort: str | None) -> None:
    assert one(entry(type=sort)).type == "Opaque"


@pytest.mark.parametrize(
    "sort",
    [
        "kubernetes.io/dockerconfigjson",
        "kubernetes.io/dockercfg",
        "kubernetes.io/ssh-auth",
        "example.org/own",
    ],
)
def test_other_types_pass(sort: str) -> None:
    assert one(entry(type=sort)).type == sort


@pytest.mark.parametrize("sort", sorted(secret_objects.REFUSED_TYPES))
def test_types_that_grant_rights_are_refused(sort: str) -> None:
    account = {"kubernetes.io/service-account.name": "admin"}
    told = reason(entry(type=f" {sort} ", annotations=account))
    assert told == f"type {sort} is refused: the control plane acts on such a Secret"


def test_later_entries_override_equal_keys() -> None:
    assert one(entry(("a", "k"), ("b", "k"))).data == {"k": b"\x00\xff"}


def test_labels_and_annotations_are_the_classes() -> None:
    wanted = one(entry(labels={"l": "1"}, annotations={"a": "2"}))
    assert (wanted.labels, wanted.annotations) == ({"l": "1"}, {"a": "2"})
    bare = one(entry(labels=None, annotations=None))
    assert (bare.labels, bare.annotations) == ({}, {})


RULES: dict[str, tuple[Entry, str]] = {
    "no name": (entry(name=""), "secret name is empty"),
    "blank name": (entry(name="  "), "secret name is empty"),
    "no name at all": ({"data": [{"objectName": "a", "key": "k"}]}, "secret name is empty"),
    "name with a slash": (entry(name="a/b"), "secret name is no DNS subdomain"),
    "name in capitals": (entry(name="Db"), "secret name is no DNS subdomain"),
    "long name": (entry(name="a" * 254), "secret name is no DNS subdomain"),
    "no data": ({"secretName": "db", "type": "Opaque"}, "data is empty"),
    "empty data": (entry(data=[]), "data is empty"),
    "no object name": (entry((" ", "k")), "object name in secretObjects.data is empty"),
    "no key": (entry(("a", " ")), "key in secretObjects.data is empty, for object a"),
    "absent key": (entry(data=[{"objectName": "a"}]), "key in secretObjects.data is empty"),
    "key with a slash": (entry(("a", "x/y")), "key x/y is not legal"),
    "key of a dot": (entry(("a", ".")), "key . is not legal"),
    "key of two dots": (entry(("a", "..x")), "key ..x is not legal"),
    "long key": (entry(("a", "x" * 254)), r"key x{97}\.\.\. is not legal"),
    "no such file": (entry(("A", "k")), "file matching objectName A not found in the pod, which"),
    "one file of two": (entry(("a", "k"), ("none", "j")), "file matching objectName none not"),
    "policy": (
        entry(annotations={secret_objects.DELETION_POLICY: "retain"}),
        "deletion-policy is neither Retain nor Delete",
    ),
    "TLS without key": (
        entry(("tls.crt", "tls.crt"), type="kubernetes.io/tls"),
        "type kubernetes.io/tls needs key tls.key",
    ),
    "TLS without certificate": (
        entry(("tls.key", "tls.key"), type="kubernetes.io/tls"),
        "type kubernetes.io/tls needs key tls.crt",
    ),
    "TLS crossed": (
        entry(("tls.key", "tls.crt"), ("tls.crt", "tls.key"), type="kubernetes.io/tls"),
        "object tls.key for key tls.crt: no certificate found, the object is PEM with PRIVATE KEY",
    ),
    "TLS of text": (
        entry(("tls.crt", "tls.crt"), ("a", "tls.key"), type="kubernetes.io/tls"),
        "object a for key tls.key: no private key found, the object is text",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_entry_that_breaks_a_rule(case: str) -> None:
    item, told = RULES[case]
    assert re.match(told, reason(item)) or told in reason(item)


def test_failure_names_secret_and_class() -> None:
    (failure,) = secret_objects.plan(a_class(entry(("x", "k"))), FILES).failed
    assert str(failure).startswith(
        "failed to sync secret shop/db of spc shop/cls, err: file matching objectName x not found"
    )
    (nameless,) = secret_objects.plan(a_class(entry(name="")), FILES).failed
    assert nameless.secret == "shop/secretObjects[0]"


def test_missing_file_shows_a_few_that_are_there() -> None:
    many = files(**{f"f{n}": b"" for n in range(7)})
    assert reason(entry(("x", "k")), many).endswith("which has f0, f1, f2, f3, f4 and 2 more")
    assert reason(entry(("x", "k")), files(y=b"")).endswith("which has y")


@pytest.mark.parametrize("data", [("a", "k"), ("*", "")])
def test_provider_that_writes_files_itself_is_named(data: tuple[str, str]) -> None:
    assert "the provider returned no files but wrote them itself" in reason(entry(data), {})


def test_one_bad_entry_costs_no_other() -> None:
    chosen = a_class(entry(), entry(("x", "k"), name="bad"), entry(name="last"))
    plan = secret_objects.plan(chosen, FILES)
    assert list(plan.wanted) == ["db", "last"]
    assert [failure.secret for failure in plan.failed] == ["shop/bad"]
    assert plan.repeated == ()


def test_of_two_entries_with_one_name_the_later_counts() -> None:
    plan = secret_objects.plan(a_class(entry(), entry(("b", "j"), name="db ")), FILES)
    assert plan.wanted["db"].data == {"j": b"\x00\xff"}
    assert plan.repeated == ("db",)


def test_names_of_a_class_are_those_of_good_and_bad_entries() -> None:
    chosen = a_class(entry(name=" a "), entry(name="B"), entry(name=""), {"type": "x"})
    assert secret_objects.names(chosen.secret_objects) == {"a", "B"}


@pytest.mark.parametrize(
    ("own", "of_class", "policy"),
    [
        (None, None, secret_objects.Policy.COLLECTED),
        ("Retain", None, secret_objects.Policy.RETAIN),
        (None, "Retain", secret_objects.Policy.RETAIN),
        ("Delete", "Retain", secret_objects.Policy.DELETE),
        (" Delete ", None, secret_objects.Policy.DELETE),
    ],
)
def test_policy_of_an_entry_goes_before_the_classes(
    own: str | None, of_class: str | None, policy: secret_objects.Policy
) -> None:
    annotations = {"note": "x"} | ({secret_objects.DELETION_POLICY: own} if own else {})
    wanted = one(entry(annotations=annotations), of_class=of_class)
    assert wanted.policy is policy
    shown = {secret_objects.DELETION_POLICY: policy.value} if policy.value else {}
    assert wanted.annotations == {"note": "x"} | shown


def test_all_files_get_keys_that_are_legal() -> None:
    given = FILES | {"ä/..b c": payload.File(b"3", 0o644)}
    assert one(entry(("*", "")), given).data.keys() == {
        "a", "b", "nested", "deep_er", "tls.crt", "tls.key", "both.pem", "__..b_c",
    }  # fmt: skip


def test_all_files_and_single_ones_override_in_order() -> None:
    assert one(entry(("*", ""), ("b", "a"))).data["a"] == b"\x00\xff"
    assert one(entry(("b", "a"), ("*", ""))).data["a"] == MARKER.encode()


def test_all_files_that_would_share_a_key_are_refused() -> None:
    told = reason(entry(("*", "")), files(a_b=b"1") | {"a/b": payload.File(b"2", 0)})
    assert told == "objects a/b and a_b both become key a_b; name the objects one by one"
    assert "is not legal" in reason(entry(("*", "")), {"x" * 254: payload.File(b"", 0)})


def test_a_file_that_is_called_star_is_a_file() -> None:
    given = {"*": payload.File(b"1", 0)}
    assert one(entry(("*", "k")), given).data == {"k": b"1"}
    assert reason(entry(("*", "k"))).startswith("file matching objectName * not found")


def test_size_is_told_before_the_api_server_refuses_it() -> None:
    half = secret_objects.MAX_DATA_BYTES // 2
    exact = files(a=bytes(half), b=bytes(half))
    assert sum(map(len, one(entry(("*", "")), exact).data.values())) == 1048576
    over = files(a=bytes(half), b=bytes(half + 1))
    told = reason(entry(("*", "")), over)
    assert told == "its data are 1048577 bytes, a Secret holds at most 1048576 bytes"


TLS = {"type": "kubernetes.io/tls"}


def test_tls_from_two_objects_is_verbatim_and_takes_more_keys() -> None:
    data = (("tls.crt", "tls.crt"), ("tls.key", "tls.key"), ("a", "ca.crt"))
    assert one(entry(*data, **TLS)).data == {
        "tls.crt": CERTIFICATE,
        "tls.key": KEY,
        "ca.crt": MARKER.encode(),
    }


def test_tls_from_one_object_is_taken_apart() -> None:
    wanted = one(entry(("both.pem", "tls.crt"), ("both.pem", "tls.key"), **TLS))
    assert wanted.data["tls.key"] == KEY
    assert wanted.data["tls.crt"] == CERTIFICATE.replace(MARKER.encode(), b"")


def test_tls_broken_object_is_told_with_its_key() -> None:
    broken = FILES | {"tls.crt": payload.File(b"-----BEGIN CERTIFICATE-----", 0)}
    told = reason(entry(("tls.crt", "tls.crt"), ("tls.key", "tls.key"), **TLS), broken)
    assert told.startswith("object tls.crt for key tls.crt: the object is PEM with a block that")


PKCS12 = b"\x30\x03\x02\x01\x03"


def test_containers_that_a_class_needs_opened() -> None:
    given = FILES | {
        "p.pfx": payload.File(PKCS12, 0o644),
        "q.pfx": payload.File(base64.b64encode(PKCS12), 0o644),
    }
    chosen = a_class(
        entry(("p.pfx", "tls.crt"), ("tls.key", "tls.key"), ("q.pfx", "other"), **TLS),
        entry(("q.pfx", "tls.key"), **TLS),
        entry(("p.pfx", "tls.crt")),
        entry(("none", "tls.crt"), **TLS),
    )
    assert secret_objects.containers(chosen, given) == {"p.pfx": PKCS12, "q.pfx": PKCS12}


def test_what_is_in_a_container_fills_both_parts() -> None:
    item = entry(("a", "tls.crt"), ("a", "tls.key"), ("a", "all"), **TLS)
    opened = {"a": certificates.Bundle("PKCS#12", CERTIFICATE, KEY)}
    plan = secret_objects.plan(a_class(item), files(a=PKCS12), opened)
    assert plan.wanted["db"].data == {"tls.crt": CERTIFICATE, "tls.key": KEY, "all": PKCS12}


def test_container_that_cannot_be_opened_is_told_with_its_object() -> None:
    item = entry(("a", "tls.crt"), ("a", "tls.key"), **TLS)
    opened = {"a": certificates.Unusable("the object is PKCS#12, which is shut")}
    (failure,) = secret_objects.plan(a_class(item), files(a=PKCS12), opened).failed
    assert failure.reason == "object a for key tls.crt: the object is PKCS#12, which is shut"


def test_parts_are_not_taken_out_for_other_types() -> None:
    assert one(entry(("both.pem", "tls.key"))).data["tls.key"] == FILES["both.pem"].contents


names = st.text(st.sampled_from("ab/._-é*A "), max_size=6)
entries = st.fixed_dictionaries(
    {},
    optional={
        "secretName": names,
        "type": st.sampled_from(["", "Opaque", "kubernetes.io/tls", *secret_objects.REFUSED_TYPES]),
        "data": st.lists(
            st.fixed_dictionaries({}, optional={"objectName": names, "key": names}), max_size=4
        ),
        "labels": st.dictionaries(names, names, max_size=2),
        "annotations": st.dictionaries(names, names, max_size=2),
    },
)


@given(
    items=st.lists(entries, max_size=4),
    contents=st.dictionaries(names.filter(bool), st.binary(max_size=20), max_size=4),
)
def test_every_entry_is_made_or_told(items: list[Entry], contents: Mapping[str, bytes]) -> None:
    given = {path: payload.File(value, 0o644) for path, value in contents.items()}
    plan = secret_objects.plan(a_class(*items), given)
    assert len(plan.wanted) + len(plan.failed) <= len(items)
    assert (len(plan.wanted) + len(plan.failed) == len(items)) or plan.repeated
    for name, wanted in plan.wanted.items():
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        assert wanted.type not in secret_objects.REFUSED_TYPES
        assert wanted.data
        assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in wanted.data)
        assert set(wanted.data.values()) <= set(contents.values())
