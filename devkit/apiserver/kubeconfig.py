"""Kubeconfig files for `kubectl` and the client libraries."""

import base64
import json
import os
import pathlib


def write(
    path: pathlib.Path, server: str, *, token: str = "", ca_pem: bytes = b"", namespace: str = ""
) -> pathlib.Path:
    """Write a kubeconfig with one cluster, user and context; return its path.

    JSON is YAML, so no YAML writer is needed. The file is readable by its owner only.
    """
    cluster: dict[str, str] = {"server": server}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem).decode()
    context = {"cluster": "devkit", "user": "devkit"}
    if namespace:
        context["namespace"] = namespace
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devkit", "cluster": cluster}],
        "users": [{"name": "devkit", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "devkit", "context": context}],
        "current-context": "devkit",
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file, indent=2)
    return path
