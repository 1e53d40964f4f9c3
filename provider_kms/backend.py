"""What a secret store must be able to do, so that the rest need not know which one it is.

`service`, `auth` and `reads` talk to this protocol; `kms.api` is its first implementation, and
docs/provider.md tells how to add another. All methods run on the loop, must be cancellable at any
point, and raise nothing but errors of `errors`.
"""

import dataclasses
import itertools
from typing import Generic, Protocol, TypeVar

from provider_kms import budget, sealed
from provider_kms.model.secret import Folder, Listing, Secret
from provider_kms.model.site import Site

T = TypeVar("T")

_serials = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Where to log in and as whom: the key of a login. Equal accounts may share one.

    Attributes:
        site: the server.
        ca_pem: certificates trusted beside the system's, "" for none.
        api_version: of the server's API.
        method: ``kubernetes`` or ``universal-auth``.
        identity: machine identity or client id.
        audience: of the pod token; "" for the API server's own.
        holder: whose proof it is: a service account, or the digest of one single proof.
    """

    site: Site
    ca_pem: str = dataclasses.field(repr=False)
    api_version: str
    method: str
    identity: str
    audience: str
    holder: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One successful login. Compared by identity: a later login is another session.

    Attributes:
        token: bearer of the API.
        lifetime_s: from the moment of the login; 0 for no end.
        serial: names the session in caches and logs.
    """

    account: Account
    token: sealed.Sealed[str]
    lifetime_s: float
    serial: int = dataclasses.field(default_factory=lambda: next(_serials))


@dataclasses.dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """Answer to a read.

    Attributes:
        value: what was read; None if it is still what `etag` named in the question.
        etag: names this content for the next question; "" if the store offers none.
    """

    value: T | None
    etag: str


class Backend(Protocol):
    """A secret store with logins, single reads and lists."""

    async def login(
        self, account: Account, proof: sealed.Sealed[str], limits: budget.Budget
    ) -> Session:
        """Log in.

        Raises: errors.LoginRefused and its kin, errors.KmsUnavailable, errors.RateLimited,
            errors.KmsTooSlow, errors.NotKmsAnswer, errors.CertificateRefused.
        """

    async def get(
        self, session: Session, folder: Folder, key: str, etag: str, limits: budget.Budget
    ) -> Read[Secret]:
        """Read one secret, looking into the folder's imports too.

        Raises: as `login`, and errors.AccessTokenRefused (log in again), errors.SecretMissing,
            errors.ReadRefused, errors.RequestRefused.
        """

    async def list(
        self, session: Session, folder: Folder, etag: str, limits: budget.Budget
    ) -> Read[Listing]:
        """Read a folder with its imports. A folder that may not be listed is ReadRefused, one too
        large AnswerTooLarge: its secrets are then read singly.

        Raises: as `get`.
        """
