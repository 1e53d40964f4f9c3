"""One provider behind its socket: the only client-side use of grpc.aio.

Calls have a timeout and are never cancelled: a cancelled call leaks in grpc.aio (grpc/grpc 43360).
Whoever no longer wants an answer lets the call run out and throws the answer away.
Source: provider-wire §1, §3, §8.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import grpc
import grpc.aio

from csi_spec import provider_pb2, provider_pb2_grpc
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.providers import retry_info

API_VERSION = "v1alpha1"
PERMISSION = "420"
"""0644 as the decimal JSON number that every provider parses."""
MAX_ERROR_CHARACTERS = 2048
Identity = tuple[int, int, int]
"""Device, inode and time of change of a socket file."""
_TOO_LARGE = "received message larger than max"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a provider is asked.

    Attributes:
        provider: Its name.
        attributes: JSON object of strings; can hold tokens.
        secrets: JSON object of strings, or ``null``.
        objects: Object id → version that the volume shows; empty on a first publish.
        confidential: Texts that must not come back in an error message.
    """

    provider: str
    attributes: Sealed[str]
    secrets: Sealed[str]
    target_path: str
    objects: Mapping[str, str]
    confidential: Sealed[tuple[str, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a provider answered.

    Attributes:
        objects: Object id → version; never empty. Of one id twice the last wins.
        files: (path, mode, contents) in the provider's order, unchecked. Empty: the provider
            has written into the target itself.
    """

    objects: Mapping[str, str]
    files: Sequence[tuple[str, int, bytes]] = dataclasses.field(repr=False)


class Client:
    """A channel to one socket. Made and used on the event loop.

    Args:
        path: Absolute path of the socket.
        identity: Of the socket file, by which a replaced one is told.
        max_receive_bytes: Largest answer that is taken.
    """

    def __init__(self, path: str, identity: Identity, *, max_receive_bytes: int) -> None:
        self.path, self.identity = path, identity
        self._channel = grpc.aio.insecure_channel(
            f"unix:{path}",
            options=(
                ("grpc.max_receive_message_length", max_receive_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.default_authority", "localhost"),
                ("grpc.enable_http_proxy", 0),
                # Attempts are counted by the caller, who alone knows whether anybody still waits.
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                # A new socket of the same path is another provider process: share nothing.
                ("grpc.use_local_subchannel_pool", 1),
            ),
        )
        self._stub = provider_pb2_grpc.CSIDriverProviderStub(self._channel)
        self._calls = 0
        self._closing = False

    async def version(self, timeout_s: float) -> str:
        """Return the provider's ``runtime_version``, which may be empty.

        Raises: errors.ProviderFailed.
        """
        request = provider_pb2.VersionRequest(version=API_VERSION)
        self._begin_call()
        try:
            answer = await self._stub.Version(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, ()) from None
        finally:
            await self._end_call()
        return str(_read(answer).runtime_version)

    async def mount(self, question: Question, timeout_s: float) -> Answer:
        """Ask for the contents of a volume.

        Raises: errors.ProviderFailed.
        """
        request = provider_pb2.MountRequest(
            attributes=question.attributes.open(),
            secrets=question.secrets.open(),
            target_path=question.target_path,
            permission=PERMISSION,
            current_object_version=[
                provider_pb2.ObjectVersion(id=key, version=value)
                for key, value in sorted(question.objects.items())
            ],
        )
        self._begin_call()
        try:
            response = await self._stub.Mount(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            # ``from None``: the library's exception prints its whole debug string.
            raise _failure(error, question.confidential.open()) from None
        finally:
            await self._end_call()
        response = _read(response)
        if response.error.code:
            code = scrub(response.error.code, question.confidential.open())
            raise errors.ProviderFailed(
                f"mount request failed with provider error code {code}", error_code=code
            )
        if not response.object_version:
            raise errors.ProviderFailed("missing object versions")
        return Answer(
            objects={x.id: x.version for x in response.object_version},
            files=[(file.path, file.mode, file.contents) for file in response.files],
        )

    async def close(self) -> None:
        """Close the channel when its last call has ended."""
        self._closing = True
        if not self._calls:
            await self._channel.close()

    def _begin_call(self) -> None:
        if self._closing:
            # Somebody found the socket replaced while the caller was on its way here.
            raise errors.ProviderFailed(
                "the channel to the provider was closed", code=errors.Code.UNAVAILABLE
            )
        self._calls += 1

    async def _end_call(self) -> None:
        self._calls -= 1
        if self._closing and not self._calls:
            await self._channel.close()


def _read(answer: T | None) -> T:
    """Return an answer, in whose place the library has nothing if it was no message."""
    if answer is None:
        raise errors.ProviderFailed(
            "rpc error: code = Internal desc = the provider's answer cannot be read",
            code=errors.Code.INTERNAL,
        )
    return answer


def scrub(text: str, confidential: Sequence[str]) -> str:
    """Return a provider's text, bounded and without any of the confidential texts."""
    # The longest first: one may be part of another, of which the rest would be left.
    for secret in sorted(filter(None, confidential), key=len, reverse=True):
        text = text.replace(secret, "***stripped***")
    text = "".join(x if x.isprintable() else " " for x in text[: MAX_ERROR_CHARACTERS + 1])
    return text if len(text) <= MAX_ERROR_CHARACTERS else text[:MAX_ERROR_CHARACTERS] + "..."


def _failure(error: grpc.aio.AioRpcError, confidential: Sequence[str]) -> errors.ProviderFailed:
    code = errors.Code(error.code().value[0])
    details = scrub(error.details() or "", confidential)
    if code is errors.Code.RESOURCE_EXHAUSTED and _TOO_LARGE in details.lower():
        # The words that upstream's documentation tells people to search for.
        details = (
            f"grpc: {_TOO_LARGE}: {details}; Set --max-call-recv-msg-size to configure larger "
            "maximum size in bytes of gRPC response"
        )
    words = code.name.title().replace("_", "").replace("Cancelled", "Canceled")
    trailer = dict(error.trailing_metadata() or ()).get(retry_info.METADATA_KEY)
    return errors.ProviderFailed(
        f"rpc error: code = {words} desc = {details}",
        code=code,
        retry_after_s=retry_info.delay_s(trailer) if isinstance(trailer, bytes) else None,
    )
