"""What the demo is about: made-up secrets, the KMS's seed file, and the objects of the cluster."""

import dataclasses
import json
import os
import pathlib
import secrets
from typing import Any

import yaml

from devkit.kubelet import objects

NAMESPACE, ACCOUNT = "default", "shop"
IDENTITY, PROJECT, ENVIRONMENT, FOLDER = "demo-shop", "shop", "prod", "/app"
AUDIENCE = "kms"
CLASS, MISTYPED = "shop-secrets", "shop-secretz"
VOLUME = "secrets"
SECRET, SECRET_KEY = "shop-db", "password"
PASSWORD, API_KEY, SETTINGS = "db-password", "api-key", "settings.json"
_SETTINGS_ENTRIES = 1200

Files = dict[str, bytes]
"""Contents by file name, as a pod should see them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One secret that becomes a file."""

    key: str
    file: str
    mode: int


ENTRIES = (
    Entry("API_KEY", API_KEY, 0o400),
    Entry("DB_PASSWORD", PASSWORD, 0o644),
    Entry("SETTINGS", SETTINGS, 0o644),
)


def make_up(word: str) -> Files:
    """Make up one set of secrets; the word starts each value, so that eyes can tell sets apart.

    One of them is long enough for a half-written file to be seen as such.
    """
    settings = {f"{word}-{number:04}": secrets.token_hex(8) for number in range(_SETTINGS_ENTRIES)}
    return {
        API_KEY: f"{word}-{secrets.token_hex(12)}".encode(),
        PASSWORD: f"{word}-{secrets.token_hex(6)}".encode(),
        SETTINGS: json.dumps(settings, indent=1).encode(),
    }


def save_seed(path: pathlib.Path, files: Files) -> None:
    """Write the KMS's seed file as editors save: beside it, then renamed over it."""
    beside = path.with_name(f".{path.name}.new")
    beside.touch(0o600)
    text = yaml.dump(_seed(files), Dumper=_Dumper, sort_keys=False)
    beside.write_text(f"# The KMS reads this file anew when it is saved.\n{text}")
    os.rename(beside, path)


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, for people who edit the file."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _seed(files: Files) -> dict[str, Any]:
    values = {entry.key: files[entry.file].decode() for entry in ENTRIES}
    return {
        "projects": {PROJECT: {"environments": {ENVIRONMENT: {FOLDER: {"secrets": values}}}}},
        "identities": {
            IDENTITY: {
                "kubernetes": {
                    "allowedNamespaces": [NAMESPACE],
                    "allowedNames": [ACCOUNT],
                    "allowedAudience": AUDIENCE,
                },
                "accessTokenTTL": "300",
            }
        },
    }


def csi_driver() -> dict[str, Any]:
    """Return the CSIDriver object, which makes kubelet send pod tokens for the KMS."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": objects.DRIVER_NAME},
        "spec": {
            "attachRequired": False,
            "podInfoOnMount": True,
            "requiresRepublish": True,
            "volumeLifecycleModes": ["Ephemeral"],
            "tokenRequests": [{"audience": AUDIENCE, "expirationSeconds": 3600}],
        },
    }


def node(name: str) -> dict[str, Any]:
    """Return a Node object."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def service_account() -> dict[str, Any]:
    """Return the ServiceAccount that the pods run as, and that the KMS lets in."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
    }


def provider_class(name: str = CLASS, *, copied: bool = True) -> dict[str, Any]:
    """Return a SecretProviderClass for all secrets of the demo.

    Args:
        name: of the class.
        copied: the password becomes a Kubernetes Secret too.
    """
    wanted = [
        {
            "secretPath": FOLDER,
            "secretKey": entry.key,
            "fileName": entry.file,
            "mode": f"{entry.mode:04o}",
        }
        for entry in ENTRIES
    ]
    copy = {
        "secretName": SECRET,
        "type": "Opaque",
        "data": [{"objectName": PASSWORD, "key": SECRET_KEY}],
    }
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "provider": "kms",
            **({"secretObjects": [copy]} if copied else {}),
            "parameters": {
                "authMethod": "kubernetes",
                "identityId": IDENTITY,
                "projectId": PROJECT,
                "envSlug": ENVIRONMENT,
                "secrets": yaml.safe_dump(wanted, sort_keys=False),
            },
        },
    }


def secret() -> dict[str, Any]:
    """Return enough of the Secret of the class to read it by."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
    }


def pod(name: str, node_name: str, class_name: str = CLASS) -> dict[str, Any]:
    """Return a pod of that node with one volume of the class."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "shop"}},
        "spec": {
            "nodeName": node_name,
            "serviceAccountName": ACCOUNT,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "shop",
                    "image": "shop:1",
                    "volumeMounts": [{"name": VOLUME, "mountPath": "/secrets", "readOnly": True}],
                }
            ],
            "volumes": [
                {
                    "name": VOLUME,
                    "csi": {
                        "driver": objects.DRIVER_NAME,
                        "readOnly": True,
                        "volumeAttributes": {"secretProviderClass": class_name},
                    },
                }
            ],
        },
    }
