"""Run the stand-in as a process of its own: `python -m devkit.apiserver`."""

import json
import pathlib
import signal
import sys

import click

from devkit.apiserver import server


@click.command()
@click.option("--port", default=0, help="Port for HTTP; 0 lets the system choose.")
@click.option("--tls-port", default=0, help="Port for HTTPS; 0 lets the system choose.")
@click.option("--rbac", is_flag=True, help="Authorise by the RBAC objects in the store.")
@click.option("--collect-garbage", is_flag=True, help="Delete what has lost its owners by itself.")
@click.option("--no-crds", is_flag=True, help="Start without the CRDs of the driver.")
@click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Write a kubeconfig of the administrator to this file.",
)
def main(
    port: int,
    tls_port: int,
    rbac: bool,
    collect_garbage: bool,
    no_crds: bool,
    kubeconfig: pathlib.Path | None,
) -> None:
    """Serve the Kubernetes API on loopback until SIGTERM or SIGINT.

    Prints one line of JSON when ready: url, tlsUrl, token (the administrator's), caData (PEM) and,
    if asked for, kubeconfig.
    """
    waited_for = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the server's thread starts, which inherits it, so that only we get them.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    with server.APIServer(
        port=port,
        tls_port=tls_port,
        rbac=rbac,
        collect_garbage=collect_garbage,
        secrets_store=not no_crds,
    ) as api:
        ready = {
            "url": api.url,
            "tlsUrl": api.tls_url,
            "token": api.admin_token,
            "caData": api.ca_pem.decode(),
        }
        if kubeconfig is not None:
            ready["kubeconfig"] = str(api.kubeconfig(kubeconfig))
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        signal.sigwait(waited_for)


if __name__ == "__main__":
    main()
