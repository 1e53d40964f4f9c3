"""What the pages on installing, migrating and security say that code and manifests know better."""

import dataclasses
import re

import pytest

from provider_kms import settings as provider_settings
from secrets_store import cli, settings
from tests.deploy import manifests, pages

DOCS = manifests.ROOT / "docs"
PAGES = ("install.md", "migrate.md", "security.md")
POLICIES = (
    "secrets-store-csi-driver-own-node secrets-store-csi-driver-secrets secrets-store-csi-classes"
)


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_what_exists(page: str) -> None:
    lines = pages.commands(f"docs/{page}")
    assert lines
    for line in lines:
        for path in re.findall(
            r"\bdeploy/(?:yaml|images)[\w./-]*", line.replace("UPSTREAM/deploy/", "")
        ):
            assert (manifests.ROOT / path).exists(), line
        for option in re.findall(r"-f (deploy/\S+)", line):
            path = manifests.ROOT / option
            assert path.is_file() or list(path.glob("*.yaml")), f"nothing to apply in {option}"


def test_every_flag_is_told_in_the_migration_table() -> None:
    text = (DOCS / "migrate.md").read_text().partition("## Flags")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_-]+)`", text))
    assert set(cli.flags()) <= told
    table, _, new = text.partition("New, none needed")
    ours = {
        settings.flag_name(field)
        for field in dataclasses.fields(settings.Settings)
        if field.metadata["ours"]
    }
    assert ours == set(re.findall(r"`([a-z-]+)`", new)) & set(cli.flags())
    assert not ours & set(re.findall(r"`([a-z_-]+)`", table))


def test_flags_that_pages_recommend_exist() -> None:
    known = set(cli.flags()) | {"allowed-hosts", "kms-url", "kubelet-registration-path"}
    kubectl = {"all-namespaces", "ignore-not-found", "overwrite", "type"}
    fields = {field.name for field in dataclasses.fields(provider_settings.Settings)}
    assert {"allowed_hosts", "kms_url"} <= fields
    for page in PAGES:
        text = (DOCS / page).read_text()
        assert set(re.findall(r"--([a-z][a-z-]+)", text)) <= known | kubectl | {"flag"}, page


def test_every_option_is_in_the_table() -> None:
    table = (DOCS / "install.md").read_text().partition("## Options")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z-]+)/`", table))
    for name in manifests.folders():
        assert not name or name.split("/")[-1] in told, name


def test_every_right_is_explained() -> None:
    table = (DOCS / "security.md").read_text().partition("## Rights")[2].partition("\n## ")[0]
    for name in ("", "secret-sync", "startup-taint", "kms-cluster-access"):
        for obj in manifests.folder(name):
            labels = obj["metadata"].get("labels", {})
            if obj["kind"] != "ClusterRole" or any("aggregate" in label for label in labels):
                continue
            for rule in obj["rules"]:
                for resource in rule["resources"]:
                    told = " ".join(re.findall(rf"\b{resource}: ([^|;(]+)", table))
                    assert set(rule["verbs"]) <= set(re.findall(r"\w+", told)), (resource, told)


def test_removal_names_the_right_that_would_stay() -> None:
    text = (DOCS / "install.md").read_text().partition("## Remove")[2]
    base = {(obj["kind"], obj["metadata"]["name"]) for obj in manifests.folder()}
    left = {
        rule["resources"][0]
        for obj in manifests.folder("secret-sync")
        if obj["kind"] == "ClusterRole" and (obj["kind"], obj["metadata"]["name"]) not in base
        for rule in obj["rules"]
    }
    assert left == {"secrets"}
    assert "`secret-sync/`" in text


def test_the_way_back_removes_every_policy() -> None:
    installed = {
        obj["metadata"]["name"]
        for name in ("", "secret-sync")
        for obj in manifests.folder(name)
        if obj["kind"] == "ValidatingAdmissionPolicy"
    }
    text = (DOCS / "migrate.md").read_text()
    assert installed == set(POLICIES.split())
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        assert f"delete --ignore-not-found {kind} {POLICIES}" in text


def test_images_and_version_are_those_of_the_manifests() -> None:
    text = "".join((DOCS / page).read_text() for page in PAGES)
    images = set(re.findall(r"ghcr\.io/[\w/-]+", text))
    used = {
        container["image"].partition(":")[0]
        for obj in manifests.folder()
        if obj["kind"] == "DaemonSet"
        for container in obj["spec"]["template"]["spec"]["containers"]
    }
    assert images <= used
    assert set(re.findall(r"secrets-store-csi-driver:(\S+)", text)) == {settings.VERSION}
