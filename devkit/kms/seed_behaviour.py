"""Settings and faults of a seed file; the form is described in `seed`."""

from devkit.kms import behaviour, docnode, faults, routes

_KINDS = ("status", "retryAfter", "html", "redirect", "reset", "delayMs", "truncateAfterBytes")


def settings(node: docnode.Node) -> behaviour.Settings:
    """Parse the settings.

    Raises: docnode.Invalid: with line and YAML path.
    """
    fields = node.fields("delayMs", "maintenance", "rateLimits")
    limits = None
    if "rateLimits" in fields:
        names = ("read", "write", "secrets", "all")
        given = fields["rateLimits"].fields(*names)
        limits = behaviour.Limits(**{name: each.integer(0) for name, each in given.items()})
    return behaviour.Settings(
        delay_s=fields["delayMs"].number() / 1000 if "delayMs" in fields else 0.0,
        maintenance="maintenance" in fields and fields["maintenance"].boolean(),
        limits=limits,
    )


def fault(node: docnode.Node) -> faults.Planned:
    """Parse a fault: one kind, its parameters, and where and how often it holds.

    Raises: docnode.Invalid: with line and YAML path.
    """
    extra = ("headers", "body", "error", "chunkBytes", "chunkIntervalMs")
    fields = node.fields("route", "where", "times", *_KINDS, *extra)
    kinds = [name for name in (*_KINDS, "chunkBytes") if name in fields]
    if len(kinds) != 1:
        raise node.invalid(f"needs exactly one of {', '.join(_KINDS)}, chunkBytes")
    route = fields["route"].text() if "route" in fields else faults.ANY_ROUTE
    if route not in (faults.ANY_ROUTE, *(each.name for each in routes.ROUTES)):
        known = ", ".join(each.name for each in routes.ROUTES)
        raise fields["route"].invalid(f"no such route; there are *, {known}")
    times: int | None = 1
    if "times" in fields:
        times = None if fields["times"].text() == "always" else fields["times"].integer(1)
    where = fields["where"].text() if "where" in fields else ""
    return faults.Planned(_kind(kinds[0], fields), route, where, times)


def _kind(name: str, fields: dict[str, docnode.Node]) -> faults.Fault:
    node = fields[name]
    if name == "status":
        return faults.status(
            node.integer(200, 599),
            error=fields["error"].text() if "error" in fields else "InternalServerError",
            headers={
                header.lower(): each.text()
                for header, each in fields.get("headers", docnode.EMPTY).items()
            },
            body=fields["body"].text().encode() if "body" in fields else None,
        )
    if name == "retryAfter":
        return faults.retry_after(node.text())
    if name == "html":
        return faults.html(node.integer(200, 599))
    if name == "redirect":
        return faults.redirect(node.text())
    if name == "delayMs":
        return faults.delay(node.number() / 1000)
    if name == "truncateAfterBytes":
        return faults.truncated(node.integer(0))
    if name == "chunkBytes":
        interval = fields.get("chunkIntervalMs", docnode.ZERO)
        return faults.slow(node.integer(1), interval.number() / 1000)
    if not node.boolean():
        raise node.invalid("a fault that is not wanted is left out")
    return faults.reset()
