import asyncio
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from devkit.kms import tls
from provider_kms import app, cluster, settings


@pytest.fixture
def folder() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="prov", dir="/tmp")
    yield path
    shutil.rmtree(path)


def flags(folder: str, **changes: Any) -> settings.Settings:
    fields = {"endpoint": f"{folder}/kms.sock", "health_port": "127.0.0.1:0"}
    return settings.Settings(**(fields | changes))


async def test_it_starts_and_stops_without_a_trace(folder: str) -> None:
    made = app.App(flags(folder))

    await made.start()
    assert pathlib.Path(folder, "kms.sock").is_socket()
    assert made.metrics.registry.get_sample_value("kms_provider_ready") == 1
    await made.stop()

    assert list(pathlib.Path(folder).iterdir()) == []
    assert made.metrics.registry.get_sample_value("kms_provider_ready") == 0


async def test_a_second_socket_that_fails_takes_the_first_along(folder: str) -> None:
    made = app.App(flags(folder, alias_endpoint=f"{folder}/absent/old.sock"))

    with pytest.raises(OSError, match="absent"):
        await made.start()
    await made.stop()

    assert list(pathlib.Path(folder).iterdir()) == []


async def test_a_file_in_the_sockets_place_is_left_alone(folder: str) -> None:
    pathlib.Path(folder, "kms.sock").write_text("mine")
    made = app.App(flags(folder))

    with pytest.raises(FileExistsError):
        await made.start()
    await made.stop()

    assert pathlib.Path(folder, "kms.sock").read_text() == "mine"


def test_a_configuration_that_is_not_there(folder: str) -> None:
    with pytest.raises(FileNotFoundError):
        app.App(flags(folder, config=f"{folder}/config.yaml"))


def test_a_configuration_counts_from_the_start(folder: str) -> None:
    pathlib.Path(folder, "config.yaml").write_text("cache-bound: 7s")

    made = app.App(flags(folder, config=f"{folder}/config.yaml"))

    assert made.settings.cache_bound_s == 7.0


@pytest.mark.parametrize("text", [None, "", "nothing", "\udcff"])
def test_authorities_that_cannot_be_read(folder: str, text: str | None) -> None:
    file = pathlib.Path(folder, "ca.pem")
    if text is not None:
        file.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(settings.Invalid, match="-ca-file"):
        app.App(flags(folder, ca_files=(str(file),)))


def test_several_authorities(folder: str) -> None:
    names = []
    for name in ("one", "two"):
        pathlib.Path(folder, name).write_text(tls.Authority(name).certificate_pem)
        names.append(f"{folder}/{name}")

    assert app._certificates(flags(folder, ca_files=tuple(names))).count("BEGIN CERT") == 2


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----é"])
async def test_authorities_that_break_while_it_runs_are_not_taken(folder: str, text: str) -> None:
    file = pathlib.Path(folder, "ca.pem")
    file.write_text(tls.Authority().certificate_pem)
    made = app.App(flags(folder, ca_files=(str(file),)))

    file.write_text(text)
    made._watches[1].check()

    labels = {"what": "ca", "result": "failed"}
    assert made.metrics.registry.get_sample_value("kms_provider_reloads_total", labels) == 1
    assert "BEGIN CERT" in made._trusted


async def test_a_part_that_ends_by_itself_is_noticed(folder: str) -> None:
    made = app.App(flags(folder))
    await made.start()
    failed = asyncio.ensure_future(made.failed())
    await asyncio.sleep(0)
    assert not failed.done()

    await made._servers[0].stop(0)

    await failed
    await made.stop()


class Unsweepable(cluster.Cluster):
    """Fails where nothing should."""

    def sweep(self) -> None:
        raise ZeroDivisionError


async def test_a_failure_while_sweeping_is_told(folder: str) -> None:
    broken = Unsweepable("", "test/1", environment={})
    made = app.App(flags(folder), api_server=broken, sweep_s=0.0)
    await made.start()

    with pytest.raises(ZeroDivisionError):
        await made.failed()
    await made.stop()


async def test_sweeping_goes_on(folder: str) -> None:
    made = app.App(flags(folder), sweep_s=0.001)
    await made.start()

    await asyncio.sleep(0.05)

    assert made.metrics.registry.get_sample_value("kms_provider_cached_bytes") == 0
    await made.stop()
