"""The driver's command line: flags to Settings to the app, and its exit codes."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, cast

from secrets_store import errors, goflags, settings

PROGRAM = "secrets-store-csi-driver"


def flags() -> dict[str, goflags.Flag]:
    """Return every flag by name: the driver's own, and klog's, which are accepted."""
    own = (
        goflags.Flag(
            settings.flag_name(field), kind_of(field), _default(field), field.metadata["help"]
        )
        for field in dataclasses.fields(settings.Settings)
    )
    klog = (
        goflags.Flag(name, kind, {"bool": False, "int": 0}.get(kind, ""), "accepted, no effect")
        for name, kind in settings.KLOG_FLAGS.items()
    )
    return {flag.name: flag for flag in (*own, *klog)}


def kind_of(field: "dataclasses.Field[Any]") -> str:
    """Return a flag's Go type: bool, int, duration or string."""
    kinds = {"bool": "bool", "int": "int", "str": "string"}
    return str(field.metadata["kind"]) or kinds[getattr(field.type, "__name__", str(field.type))]


def parse(arguments: Sequence[str]) -> settings.Settings:
    """Read a command line. Raises: goflags.UsageError, goflags.HelpWanted."""
    given = goflags.parse(arguments, flags())
    names = {settings.flag_name(x): x.name for x in dataclasses.fields(settings.Settings)}
    chosen: dict[str, Any] = {names[k]: value for k, value in given.items() if k in names}
    return settings.Settings(**chosen)


def version_line() -> str:
    """Return the JSON line of ``-version``; commit and date are set when the image is built."""
    return json.dumps(
        {
            "BuildVersion": settings.VERSION,
            "GitCommit": os.environ.get("SECRETS_STORE_GIT_COMMIT", ""),
            "BuildDate": os.environ.get("SECRETS_STORE_BUILD_DATE", ""),
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the driver until it is told to stop; exits with 0, 1 (failure) or 2 (usage)."""
    try:
        chosen = parse(sys.argv[1:] if arguments is None else arguments)
    except goflags.HelpWanted:
        sys.stderr.write(goflags.usage(PROGRAM, flags()))
        sys.exit(0)
    except goflags.UsageError as error:
        sys.stderr.write(f"{error}\n{goflags.usage(PROGRAM, flags())}")
        sys.exit(2)
    if chosen.version:
        print(version_line())
        return
    try:
        chosen.check()
        # The first process of a container gets no signal that it has no handler for, and to load
        # the rest takes seconds where processor time is short.
        signal.signal(signal.SIGTERM, _end)
        # Imported here, so that usage and version answer without loading gRPC.
        from secrets_store import app

        app.main(chosen)
    except errors.ConfigurationError as error:
        _tell(error, as_json=chosen.log_format_json)
        sys.exit(1)


def _tell(error: errors.ConfigurationError, *, as_json: bool) -> None:
    """Say why the driver does not start: to people in a sentence, to a collector of JSON in it."""
    if not as_json:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return
    from secrets_store import log

    log.setup(verbosity=0, as_json=True)
    log.get(__name__).critical("driver cannot start", extra=log.pairs(err=str(error)))


def _end(*_: object) -> None:
    sys.exit(0)


def _default(field: "dataclasses.Field[Any]") -> goflags.Value:
    return cast(goflags.Value, field.default)
