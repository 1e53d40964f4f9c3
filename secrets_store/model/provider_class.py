"""SecretProviderClass, from the API's dict to what a publish needs."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from secrets_store import errors
from secrets_store.model import duration

ROTATION_INTERVAL = "secrets-store.csi.k8s.io/rotation-interval"
REFRESH_REQUESTED_AT = "secrets-store.csi.k8s.io/refresh-requested-at"
MIN_INTERVAL_S = 1.0
MAX_INTERVAL_S = 366 * 86400.0
NEVER = "never"
DEFAULT_MODE = "defaultMode"
"""Parameter of a class: octal mode of the files whose mode the provider leaves at its default."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProviderClass:
    """One SecretProviderClass.

    Attributes:
        parameters: Passed to the provider as they are.
        secret_objects: ``spec.secretObjects`` as the API gives it.
        annotations: Only those under ``secrets-store.csi.k8s.io/``.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    provider: str
    parameters: Mapping[str, str]
    secret_objects: tuple[Mapping[str, Any], ...]
    annotations: Mapping[str, str]

    @classmethod
    def from_dict(cls, obj: Mapping[str, Any]) -> "ProviderClass":
        """Read the API's object; absent parts become empty. Raises: nothing for a valid CRD."""
        metadata, spec = obj["metadata"], obj.get("spec") or {}
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata.get("uid", ""),
            generation=metadata.get("generation", 0),
            provider=spec.get("provider") or "",
            parameters=dict(spec.get("parameters") or {}),
            secret_objects=tuple(spec.get("secretObjects") or ()),
            annotations={
                key: value
                for key, value in (metadata.get("annotations") or {}).items()
                if key.startswith("secrets-store.csi.k8s.io/")
            },
        )

    @property
    def default_mode(self) -> int | None:
        """Mode of files that the provider leaves at 0644; None: leave them.

        Raises: errors.ClassInvalid: not an octal number of at most 0777.
        """
        text = self.parameters.get(DEFAULT_MODE, "").strip()
        if not text:
            return None
        digits = text.removeprefix("0o")
        if not 1 <= len(digits) <= 4 or set(digits) - set("01234567") or int(digits, 8) > 0o777:
            raise errors.ClassInvalid(
                f"parameter {DEFAULT_MODE} of {self.namespace}/{self.name} must be an octal mode "
                f"such as 0440, not {text[:16]!r}"
            )
        return int(digits, 8)

    def check(self) -> None:
        """Raise errors.ClassInvalid unless a provider can be asked with it."""
        if not self.provider:
            raise errors.ClassInvalid(f"provider not set in {self.namespace}/{self.name}")
        if not self.parameters:
            raise errors.ClassInvalid(f"parameters not set in {self.namespace}/{self.name}")
        _ = self.default_mode


def refresh_request(annotations: Mapping[str, str]) -> str:
    """Return the request for a refresh on a class or a pod as written; empty for none."""
    return annotations.get(REFRESH_REQUESTED_AT, "").strip()


def refresh_asked(annotations: Mapping[str, str], *, before: str | None, since_s: float) -> bool:
    """Tell whether a class asks for a refresh that has not been made.

    Args:
        annotations: Of the class.
        before: The request when the class was last read; None if it was not. One that has changed
            is believed whatever time it names: clocks differ, and most write whole seconds.
        since_s: Unix time of the last check.
    """
    requested_s = refresh_requested_s(annotations)
    if requested_s is None or refresh_request(annotations) == before:
        return False
    return before is not None or requested_s > since_s


def refresh_requested_s(annotations: Mapping[str, str]) -> float | None:
    """Return the Unix time at which somebody asked for a refresh, on a class or a pod.

    None if nobody did, or the annotation is no RFC 3339 time.
    """
    text = refresh_request(annotations)
    if not text:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    # Without an offset it would be another moment on every node.
    return at.timestamp() if at.tzinfo is not None else None


def interval_s(annotations: Mapping[str, str], default_s: float | None) -> float | None:
    """Return the refresh interval of a class; None means never.

    Args:
        annotations: Of the class.
        default_s: The flag's interval; None if rotation is off. Then an annotation turns it on
            for this class only.
    Raises: errors.ClassInvalid: the annotation is no duration in its bounds and not ``never``.
    """
    text = annotations.get(ROTATION_INTERVAL, "").strip()
    if not text:
        return default_s
    if text == NEVER:
        return None
    try:
        seconds = duration.parse(text)
    except ValueError as error:
        raise errors.ClassInvalid(f"annotation {ROTATION_INTERVAL}: {error}") from error
    if not MIN_INTERVAL_S <= seconds <= MAX_INTERVAL_S:
        raise errors.ClassInvalid(
            f"annotation {ROTATION_INTERVAL}: {text} is not between 1s and 8784h"
        )
    return seconds
