"""Where the API server is and how to be believed there, found as client-go finds it."""

import os
from collections.abc import Mapping

from secrets_store import errors
from secrets_store.kube import access, kubeconfig, proxies

SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"


def load(
    file: str = "",
    environ: Mapping[str, str] = os.environ,
    *,
    service_account_dir: str = SERVICE_ACCOUNT_DIR,
) -> access.Config:
    """Find the configuration: flag, ``KUBECONFIG``, in-cluster, ``~/.kube/config``.

    Args:
        file: The flag's value; empty when not given.
        environ: Environment to look into.
        service_account_dir: Where kubelet mounts the service account.

    Raises:
        errors.ConfigurationError: nothing was found, or what was found cannot be used.

    Source: controller-runtime's config loading order.
    """
    files = [file] if file else _listed(environ.get("KUBECONFIG", ""))
    if not files:
        host = environ.get("KUBERNETES_SERVICE_HOST", "")
        port = environ.get("KUBERNETES_SERVICE_PORT", "")
        if host and port:
            return in_cluster(host, port, environ, service_account_dir)
        home = environ.get("HOME") or os.path.expanduser("~")
        files = [os.path.join(home, ".kube", "config")]
    return kubeconfig.load(files, environ)


def in_cluster(host: str, port: str, environ: Mapping[str, str], directory: str) -> access.Config:
    """Return the configuration of a pod with a service account."""
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    server = f"https://{authority}"
    token_file = os.path.join(directory, "token")
    access.read_text(token_file)
    try:
        namespace = access.read_text(os.path.join(directory, "namespace")).strip()
    except errors.ConfigurationError:
        namespace = ""
    return access.Config(
        server=server,
        ca=access.read_text(os.path.join(directory, "ca.crt")),
        token_file=token_file,
        namespace=namespace or "default",
        proxy=proxies.choose(server, environ),
    )


def _listed(value: str) -> list[str]:
    return [part for part in value.split(os.pathsep) if part]
