"""The stand-in KMS as a process: `python -m devkit.kms --seed FILE`.

Prints one JSON line, `{"url": …, "pid": …}`, once it accepts connections; follows changes of the
seed file; ends with status 0 on SIGTERM and SIGINT.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import threading

import click

from devkit.kms import docnode, log, model, reload, review, seed, server, tls

_FILE = click.Path(exists=True, dir_okay=False, path_type=pathlib.Path)


@click.command()
@click.option("--seed", "seed_path", type=_FILE, required=True, help="World in YAML, see seed.py.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="0 picks a free one.")
@click.option("--tls-cert", type=_FILE, help="PEM certificate chain; serve HTTPS.")
@click.option("--tls-key", type=_FILE, help="Its PEM key.")
@click.option("--delay-ms", default=0.0, show_default=True, help="Added to every answer.")
@click.option("--kubernetes-host", help="API server that reviews pod tokens.")
@click.option("--kubernetes-ca", type=_FILE, help="PEM CA that API server is checked against.")
@click.option("--kubernetes-token-file", type=_FILE, help="Bearer for the reviews.")
@click.option(
    "--pod-token-key-file",
    type=_FILE,
    help="Key of the pod tokens reviewed where there is no API server; another process that"
    " issues them with review.PodTokens has the same.",
)
@click.option("--log-requests", is_flag=True, help="One JSON line per request on stderr.")
def main(
    seed_path: pathlib.Path,
    host: str,
    port: int,
    tls_cert: pathlib.Path | None,
    tls_key: pathlib.Path | None,
    delay_ms: float,
    kubernetes_host: str | None,
    kubernetes_ca: pathlib.Path | None,
    kubernetes_token_file: pathlib.Path | None,
    pod_token_key_file: pathlib.Path | None,
    log_requests: bool,
) -> None:
    """Serve a stand-in KMS for development."""
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    reviewer: review.Reviewer | None = None
    if kubernetes_host is not None:
        bearer = kubernetes_token_file.read_text().strip() if kubernetes_token_file else None
        authority = kubernetes_ca.read_text() if kubernetes_ca else None
        reviewer = review.ApiServer(kubernetes_host, bearer, authority)
    key = pod_token_key_file.read_bytes() if pod_token_key_file else None
    text = seed_path.read_text(encoding="utf-8")
    kms = server.KMS(
        model.World(),
        reviewer=reviewer,
        pod_tokens=review.PodTokens(key),
        delay_s=delay_ms / 1000,
        listener=_log_request if log_requests else None,
        host=host,
        port=port,
        ssl_context=tls.server_context(tls_cert, tls_key) if tls_cert and tls_key else None,
    )
    try:
        seed.parse(text).apply(kms.world, kms.faults)
    except docnode.Invalid as e:
        raise click.ClickException(f"{seed_path.name}: {e}") from e
    _serve(kms, reload.Reloader(seed_path, text, lambda new: new.apply(kms.world, kms.faults)))


def _serve(kms: server.KMS, reloader: reload.Reloader) -> None:
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with kms:
        reloader.start()
        print(json.dumps({"url": kms.url, "pid": os.getpid()}), flush=True)
        ending.wait()
        reloader.stop()


def _log_request(record: log.Record) -> None:
    print(json.dumps(dataclasses.asdict(record)), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
