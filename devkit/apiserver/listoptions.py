"""What lists and watches ask for in their query: selectors and versions.

Source: meta.k8s.io/v1 ListOptions.
"""

from devkit.apiserver import calls, errors, selectors


def selector_of(call: calls.Call) -> selectors.Selector:
    """Read the selectors of a call; a name in the path selects as metadata.name does."""
    found = selectors.parse(
        call.query.get("labelSelector", ""),
        call.query.get("fieldSelector", ""),
        call.resource.storage_key,
        lambda path: path in call.resource.selectable_fields,
    )
    if call.route.name:
        named = ("metadata.name", call.route.name, True)
        return selectors.Selector(found.labels, (*found.fields, named))
    return found


def version_of(call: calls.Call) -> int | None:
    """Read the resourceVersion of a call, None if it has none.

    Raises: errors.StatusError: 400, and 500 for a watch, as the server answers.
    """
    text = call.query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdigit():
        if call.route.verb == "watch":
            raise errors.StatusError(500, "", f'parsing "{text}": invalid syntax')
        raise errors.bad_request(f'invalid resourceVersion: "{text}"')
    return int(text)


def invalid(causes: list[errors.Cause]) -> errors.StatusError:
    """Return the 422 of options that do not fit together."""
    return errors.invalid("ListOptions", "meta.k8s.io", "", causes)
