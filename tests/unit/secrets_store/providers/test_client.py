"""The client against a real provider on a real socket."""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from csi_spec import provider_pb2, provider_pb2_grpc, rpc
from devkit import provider
from secrets_store import errors
from secrets_store.log import Sealed
from secrets_store.providers import client

Code = errors.Code
TARGET = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/v/mount"
LIMIT_BYTES = 100_000


@pytest.fixture
async def stand_in(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> AsyncIterator[provider.Provider]:
    async with provider.Provider(directories[0], "kms", {"a": b"x"}) as started:
        yield started


@pytest.fixture
async def channel(stand_in: provider.Provider) -> AsyncIterator[client.Client]:
    made = client.Client(stand_in.path, (0, 0, 0), max_receive_bytes=LIMIT_BYTES)
    yield made
    await made.close()


def question(**changes: Any) -> client.Question:
    return dataclasses.replace(
        client.Question(
            provider="kms",
            attributes=Sealed('{"secretProviderClass":"db"}'),
            secrets=Sealed("null"),
            target_path=TARGET,
            objects={},
            confidential=Sealed(()),
        ),
        **changes,
    )


async def failure(
    channel: client.Client, timeout_s: float = 3.0, **changes: Any
) -> errors.ProviderFailed:
    with pytest.raises(errors.ProviderFailed) as caught:
        await channel.mount(question(**changes), timeout_s)
    return caught.value


# -- what a provider is asked ------------------------------------------------------------------


async def test_a_provider_hears_what_the_contract_says(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    tokens = json.dumps({"kms": {"token": "t", "expirationTimestamp": "2026-01-02T03:04:05Z"}})
    attributes = json.dumps({"a": "b", "csi.storage.k8s.io/serviceAccount.tokens": tokens})

    await channel.mount(
        question(
            attributes=Sealed(attributes),
            secrets=Sealed('{"password":"p"}'),
            objects={"secret/b": "v2", "secret/a": "v1"},
        ),
        3.0,
    )

    (call,) = stand_in.calls
    assert call.authority == "localhost"
    assert call.permission == 420
    assert call.attributes["a"] == "b"
    assert call.tokens == {"kms": {"token": "t", "expirationTimestamp": "2026-01-02T03:04:05Z"}}
    assert call.secrets == {"password": "p"}
    assert call.target_path == TARGET
    assert call.current_object_version == {"secret/a": "v1", "secret/b": "v2"}
    assert call.deadline_s is not None
    assert 2.0 < call.deadline_s <= 3.0


async def test_no_secrets_are_null(stand_in: provider.Provider, channel: client.Client) -> None:
    await channel.mount(question(), 3.0)

    assert stand_in.calls[0].secrets is None
    assert stand_in.calls[0].current_object_version == {}


async def test_the_version_is_asked_with_ours_and_may_be_empty(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> None:
    for number, version in enumerate(("1.2.3", "")):
        name = f"kms{number}"
        async with provider.Provider(directories[0], name, runtime_version=version) as started:
            made = client.Client(started.path, (0, 0, 0), max_receive_bytes=LIMIT_BYTES)
            assert await made.version(3.0) == version
            await made.close()
        assert started.versions_asked == ["v1alpha1"]


# -- what it answers ---------------------------------------------------------------------------


async def test_files_come_in_the_provider_s_order_and_unchecked(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.files = {"b": provider.File(b"2", 0o600), "a": b"\x00\xff", "empty": b""}
    stand_in.versions = {"secret/b": "v2", "secret/a": ""}
    stand_in.faults.extra_files = [("../b", b"3"), ("b", b"4")]

    answer = await channel.mount(question(), 3.0)

    assert list(answer.files) == [
        ("b", 0o600, b"2"),
        ("a", 0o644, b"\x00\xff"),
        ("empty", 0o644, b""),
        ("../b", 0o644, b"3"),
        ("b", 0o644, b"4"),
    ]
    assert answer.objects == {"secret/b": "v2", "secret/a": ""}


async def test_no_files_is_an_answer(stand_in: provider.Provider, channel: client.Client) -> None:
    stand_in.files, stand_in.versions = {}, {"secret/a": "v1"}

    answer = await channel.mount(question(), 3.0)

    assert (answer.objects, list(answer.files)) == ({"secret/a": "v1"}, [])


async def test_contents_show_in_no_repr(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    canary = secrets.token_hex()
    stand_in.files = {"a": canary.encode()}
    stand_in.versions = {"a": "1"}

    answer = await channel.mount(question(), 3.0)
    asked = question(
        attributes=Sealed(json.dumps({"x": canary})),
        secrets=Sealed(json.dumps({"x": canary})),
        confidential=Sealed((canary,)),
    )

    assert canary not in f"{answer!r} {asked!r}"


class Raw(provider_pb2_grpc.CSIDriverProviderServicer):
    """Answers with exactly what it was given."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], provider_pb2.MountResponse] | None = None

    async def Version(self, request: Any, context: Any) -> provider_pb2.VersionResponse:
        return provider_pb2.VersionResponse()

    async def Mount(self, request: Any, context: Any) -> provider_pb2.MountResponse:
        assert self.answer is not None
        return self.answer(context)


@pytest.fixture
async def raw(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> AsyncIterator[tuple[Raw, client.Client]]:
    servicer = Raw()
    path = f"{directories[0]}/raw.sock"
    server = await rpc.serve(
        path,
        [lambda x: provider_pb2_grpc.add_CSIDriverProviderServicer_to_server(servicer, x)],
    )
    made = client.Client(path, (0, 0, 0), max_receive_bytes=LIMIT_BYTES)
    yield servicer, made
    await made.close()
    await server.stop(0)


async def test_of_one_id_twice_the_last_version_wins(raw: tuple[Raw, client.Client]) -> None:
    servicer, channel = raw
    versions = [provider_pb2.ObjectVersion(id="a", version=x) for x in ("1", "2")]
    servicer.answer = lambda _: provider_pb2.MountResponse(object_version=versions)

    answer = await channel.mount(question(), 3.0)

    assert answer.objects == {"a": "2"}


async def test_an_error_without_a_code_is_none(raw: tuple[Raw, client.Client]) -> None:
    servicer, channel = raw
    servicer.answer = lambda _: provider_pb2.MountResponse(
        error=provider_pb2.Error(), object_version=[provider_pb2.ObjectVersion(id="a")]
    )

    assert (await channel.mount(question(), 3.0)).objects == {"a": ""}


# -- how it fails ------------------------------------------------------------------------------


async def test_no_versions_is_a_failure(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.no_versions = True

    error = await failure(channel)

    assert str(error) == "missing object versions"
    assert (error.status_code, error.metric_type) == (Code.UNKNOWN, "GRPCProviderError")


async def test_an_error_code_in_the_answer_is_a_failure_whatever_else_is_there(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.answer_code = "NoSuchSecret"

    error = await failure(channel)

    assert str(error) == "mount request failed with provider error code NoSuchSecret"
    assert (error.status_code, error.metric_type) == (Code.UNKNOWN, "ProviderError")
    assert error.error_code == "NoSuchSecret"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (grpc.StatusCode.CANCELLED, "Canceled"),
        (grpc.StatusCode.UNKNOWN, "Unknown"),
        (grpc.StatusCode.INVALID_ARGUMENT, "InvalidArgument"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.NOT_FOUND, "NotFound"),
        (grpc.StatusCode.ALREADY_EXISTS, "AlreadyExists"),
        (grpc.StatusCode.PERMISSION_DENIED, "PermissionDenied"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "ResourceExhausted"),
        (grpc.StatusCode.FAILED_PRECONDITION, "FailedPrecondition"),
        (grpc.StatusCode.ABORTED, "Aborted"),
        (grpc.StatusCode.OUT_OF_RANGE, "OutOfRange"),
        (grpc.StatusCode.UNIMPLEMENTED, "Unimplemented"),
        (grpc.StatusCode.INTERNAL, "Internal"),
        (grpc.StatusCode.UNAVAILABLE, "Unavailable"),
        (grpc.StatusCode.DATA_LOSS, "DataLoss"),
        (grpc.StatusCode.UNAUTHENTICATED, "Unauthenticated"),
    ],
)
async def test_the_provider_s_code_is_kept_and_asked_once(
    stand_in: provider.Provider, channel: client.Client, code: grpc.StatusCode, word: str
) -> None:
    stand_in.faults.every_error = code
    stand_in.faults.error_message = "it said no"

    error = await failure(channel)

    assert str(error) == f"rpc error: code = {word} desc = it said no"
    assert error.status_code.name == code.name
    assert error.metric_type == "GRPCProviderError"
    assert stand_in.attempts == 1


async def test_an_answer_too_late_is_a_missed_deadline(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.hang = asyncio.Event()

    error = await failure(channel, timeout_s=0.05)

    assert error.status_code is Code.DEADLINE_EXCEEDED
    stand_in.faults.hang.set()


async def test_a_cut_connection_is_unavailability(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.crashes = 1

    assert (await failure(channel)).status_code is Code.UNAVAILABLE
    # The first calls may still meet the connection that has died.
    answers: list[client.Answer] = []
    for _ in range(20):
        with contextlib.suppress(errors.ProviderFailed):
            answers.append(await channel.mount(question(), 3.0))
            break
    assert answers


async def test_nobody_there_is_told_at_once(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> None:
    channel = client.Client(f"{directories[0]}/none.sock", (0, 0, 0), max_receive_bytes=1)

    error = await failure(channel)

    assert error.status_code is Code.UNAVAILABLE
    with pytest.raises(errors.ProviderFailed):
        await channel.version(3.0)
    await channel.close()


async def test_a_message_too_large_tells_the_words_people_search_for(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.files = {"a": b"x" * LIMIT_BYTES}

    error = await failure(channel)

    assert error.status_code is Code.RESOURCE_EXHAUSTED
    assert "grpc: received message larger than max" in str(error)
    assert str(error).endswith(
        "; Set --max-call-recv-msg-size to configure larger maximum size in bytes of gRPC response"
    )


async def test_a_message_just_below_the_limit_is_taken(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.files = {"a": b"x" * (LIMIT_BYTES - 200)}

    assert len((await channel.mount(question(), 3.0)).files[0][2]) == LIMIT_BYTES - 200


async def test_another_lack_of_resources_is_not_taken_for_it(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.every_error = grpc.StatusCode.RESOURCE_EXHAUSTED
    stand_in.faults.error_message = "quota used up"

    assert "--max-call-recv-msg-size" not in str(await failure(channel))


async def test_a_large_request_is_sent(stand_in: provider.Provider, channel: client.Client) -> None:
    attributes = json.dumps({"objects": "x" * (3 << 20)})

    await channel.mount(question(attributes=Sealed(attributes)), 3.0)

    assert len(stand_in.calls[0].attributes["objects"]) == 3 << 20


# -- what it must not repeat -------------------------------------------------------------------


@pytest.mark.parametrize("where", ["message", "code"])
async def test_confidential_texts_do_not_come_back(
    stand_in: provider.Provider, channel: client.Client, where: str
) -> None:
    token = secrets.token_hex()
    if where == "message":
        stand_in.faults.every_error = grpc.StatusCode.PERMISSION_DENIED
        stand_in.faults.error_message = f"bad token {token}, really: '{token}'"
    else:
        stand_in.faults.answer_code = f"bad-token-{token}"

    error = await failure(channel, confidential=Sealed((token,)))

    assert "***stripped***" in str(error)
    told = f"{error} {error!r} {error.args} {error.error_code} {error.__cause__!r}"
    assert token not in told
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize(
    ("text", "confidential", "shown"),
    [
        ("all well", (), "all well"),
        ("key=s3cret!", ("s3cret",), "key=***stripped***!"),
        ("s3cret s3cret", ("s3cret",), "***stripped*** ***stripped***"),
        ("one two", ("one", "two"), "***stripped*** ***stripped***"),
        pytest.param("abcdef", ("abc", "abcdef"), "***stripped***", id="one within another"),
        pytest.param("abcdef", ("abcdef", "abc"), "***stripped***", id="in any order"),
        pytest.param("two\nlines", ("two\nlines",), "***stripped***", id="over two lines"),
        pytest.param("all well", ("",), "all well", id="nothing to hide"),
        ("line\nE1124 forged\r\x00\x1b[0m", (), "line E1124 forged   [0m"),
        ("ünïcödé 文", (), "ünïcödé 文"),
        ("x" * 2048, (), "x" * 2048),
        ("x" * 2049, (), "x" * 2048 + "..."),
        ("x" * 100_000, (), "x" * 2048 + "..."),
        pytest.param(
            "x" * 2040 + "s3cret-text", ("s3cret-text",), "x" * 2040 + "***strip...", id="cut last"
        ),
    ],
)
def test_scrubbing(text: str, confidential: tuple[str, ...], shown: str) -> None:
    assert client.scrub(text, confidential) == shown


# -- closing -----------------------------------------------------------------------------------


async def test_closing_waits_for_running_calls(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.hang = asyncio.Event()
    running = [asyncio.ensure_future(channel.mount(question(), 3.0)) for _ in range(3)]
    await stand_in.wait_attempts(3)

    await channel.close()
    assert not any(call.done() for call in running)
    stand_in.faults.hang.set()

    answers = await asyncio.gather(*running)
    assert [answer.files[0][0] for answer in answers] == ["a", "a", "a"]


async def test_a_failing_last_call_closes_too(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.hang = asyncio.Event()
    running = asyncio.ensure_future(failure(channel, timeout_s=0.05))
    await stand_in.wait_attempts(1)

    await channel.close()

    assert (await running).status_code is Code.DEADLINE_EXCEEDED
    stand_in.faults.hang.set()


async def test_a_closed_channel_fails_like_an_absent_provider(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    await channel.mount(question(), 3.0)
    await channel.close()

    assert (await failure(channel)).status_code is Code.UNAVAILABLE
    with pytest.raises(errors.ProviderFailed):
        await channel.version(3.0)
    await channel.close()


async def test_many_calls_share_one_connection(
    stand_in: provider.Provider, channel: client.Client
) -> None:
    stand_in.faults.delay_s = 0.05

    await asyncio.gather(*(channel.mount(question(), 3.0) for _ in range(50)))

    assert stand_in.peak == 50


async def test_an_answer_that_cannot_be_read_is_the_provider_s_failure(
    directories: tuple[pathlib.Path, pathlib.Path],
) -> None:
    """A path that is no UTF-8 is enough; the library then returns nothing, without a word."""

    async def broken(request: bytes, context: object) -> bytes:
        return b"\x1a\x03\x0a\x01\xff"

    methods = {name: grpc.unary_unary_rpc_method_handler(broken) for name in ("Mount", "Version")}
    handler = grpc.method_handlers_generic_handler("v1alpha1.CSIDriverProvider", methods)
    path = str(directories[0] / "kms.sock")
    server = await rpc.serve(path, [lambda core: core.add_generic_rpc_handlers((handler,))])
    made = client.Client(path, (0, 0, 0), max_receive_bytes=LIMIT_BYTES)

    try:
        error = await failure(made)
        with pytest.raises(errors.ProviderFailed) as caught:
            await made.version(3.0)
    finally:
        await made.close()
        await server.stop(0)

    for told in (error, caught.value):
        assert (told.status_code, str(told)) == (
            Code.INTERNAL,
            "rpc error: code = Internal desc = the provider's answer cannot be read",
        )
