"""How many files and connections the process may have open."""

import contextlib
import resource


def raise_descriptors() -> None:
    """Raise the limit on open descriptors as far as the process may, as Go programs do at start.

    The lower limit that many container runtimes begin with is there for programs that use
    select(2); each call of kubelet is a connection of its own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Refused where the system allows less than the limit says: then it stays as it was.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
