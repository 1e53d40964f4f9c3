"""The stand-in's own paths below /devkit, for those who run it as a process of its own.

| request | does |
| --- | --- |
| GET /devkit/requests?verb=&resource=&user_agent=… | tells how many match, and counters of all |
| DELETE /devkit/requests | forgets them |
| POST /devkit/faults | switches a fault on (body: attributes of `faults.Fault`) |
| DELETE /devkit/faults | switches all off |
| POST /devkit/compact, /devkit/cut-watches, /devkit/bookmarks, /devkit/collect-garbage | do that |

Nothing of this is in the request log.
"""

import dataclasses
from collections.abc import Callable

from devkit.apiserver import calls, errors, faults, http, objects, requestlog

_PREFIX = "/devkit/"
_NUMBERS = {"code"}


class Control:
    """Answers the paths below /devkit.

    Args:
        log: the request log.
        injected: the faults.
        actions: what POSTs do, by the last part of the path; the result is told.
    """

    def __init__(
        self,
        log: requestlog.RequestLog,
        injected: faults.Faults,
        actions: dict[str, Callable[[], object]],
    ) -> None:
        self._log = log
        self._faults = injected
        self._actions = actions

    def answer(self, request: http.Request) -> http.Response:
        """Return the answer. Raises: errors.StatusError: 400 or 404."""
        what = request.path.removeprefix(_PREFIX)
        match request.method, what:
            case "GET", "requests":
                found = self._requests(request.query)
            case "DELETE", "requests":
                self._log.reset()
                found = {}
            case "POST", "faults":
                found = {"fault": dataclasses.asdict(self._add_fault(request))}
            case "DELETE", "faults":
                self._faults.clear()
                found = {}
            case "POST", _ if what in self._actions:
                found = {"result": self._actions[what]()}
            case _:
                raise errors.no_such_path()
        return http.Response(200, objects.encode(found))

    def _requests(self, query: dict[str, str]) -> objects.Object:
        known = {field.name for field in dataclasses.fields(requestlog.Entry)}
        if unknown := query.keys() - known:
            raise errors.bad_request(f"no such attributes: {', '.join(sorted(unknown))}")
        wanted = {key: int(value) if key in _NUMBERS else value for key, value in query.items()}
        counters = [
            {"verb": verb, "resource": resource, "userAgent": agent, "count": count}
            for (verb, resource, agent), count in sorted(self._log.counters().items())
        ]
        return {"count": self._log.count(**wanted), "counters": counters}

    def _add_fault(self, request: http.Request) -> faults.Fault:
        body = calls.decode_json(request.body)
        known = {field.name for field in dataclasses.fields(faults.Fault)} - {"hits"}
        if not isinstance(body, dict) or body.keys() - known:
            raise errors.bad_request(f"a fault has {', '.join(sorted(known))}")
        return self._faults.add(**body)
