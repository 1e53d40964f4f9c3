"""How the server behaves as a whole.

Source: kms-http-api §2.10 (maintenance), §3.1 (limits).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Requests a minute and client address, per bucket and in all; as the fork has them."""

    read: int = 60
    write: int = 200
    secrets: int = 40
    all: int = 600

    def of(self, bucket: str) -> int:
        """Return the limit of a bucket."""
        return {"read": self.read, "write": self.write, "secrets": self.secrets}[bucket]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the server behaves as a whole.

    Args:
        delay_s: added to every answer.
        limits: None switches the rate limiter off.
        maintenance: everything but GET answers 500.
    """

    delay_s: float = 0.0
    limits: Limits | None = None
    maintenance: bool = False
