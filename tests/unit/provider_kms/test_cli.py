import os
import subprocess
import sys

import pytest

from provider_kms import cli, settings


def test_defaults() -> None:
    assert cli.parse([]) == settings.Settings()


def test_go_syntax_reaches_the_settings() -> None:
    got = cli.parse(
        [
            "-endpoint=unix:///run/kms.sock",
            "--host-url",
            "https://eu.example.com",
            "-health-port",
            "9090",
            "-allowed-hosts=a.example.com, *.b.example.com",
            "-allow-default-audience",
            "-cache-bound=1m30s",
            "-v=5",
        ]
    )

    assert got == settings.Settings(
        endpoint="unix:///run/kms.sock",
        kms_url="https://eu.example.com",
        health_port="9090",
        allowed_hosts=("a.example.com", "*.b.example.com"),
        allow_default_audience=True,
        cache_bound_s=90.0,
        verbosity=5,
    )


@pytest.mark.parametrize(
    ("argv", "code", "first"),
    [
        (["-h"], 0, "Usage of kms-csi-provider:"),
        (["--help"], 0, "Usage of kms-csi-provider:"),
        (["-nope"], 2, "flag provided but not defined: -nope"),
        (["-allow-plain-http=yes"], 2, "-allow-plain-http: invalid boolean 'yes'"),
        (["-cache-bound=5"], 2, "-cache-bound: invalid duration '5'"),
        (["-cache-bound=-5s"], 2, "-cache-bound: must be between 0 and 5m"),
        (["-v=many"], 2, "-v: not a whole number: 'many'"),
        (["-endpoint=@abstract"], 2, "-endpoint: must be an absolute path or unix:///path"),
        (["-health-port=http"], 2, "-health-port: must be PORT or HOST:PORT"),
        (["-kms-url=ftp://h"], 2, "-kms-url: must begin with https:// or http://"),
        (["-allowed-hosts=a b"], 2, "-allowed-hosts: not a host, host:port or *.domain: 'a b'"),
    ],
)
def test_usage_goes_to_stderr(
    argv: list[str], code: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)

    out, err = capsys.readouterr()
    assert caught.value.code == code
    assert out == ""
    assert err.splitlines()[0] == first
    assert "  -kms-url string" in err
    assert "(default 5s)" in err


def test_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["-version"])

    assert capsys.readouterr().out == f"kms-csi-provider {settings.VERSION}\n"


def test_every_setting_has_a_flag() -> None:
    fields = set(settings.Settings.__dataclass_fields__)

    assert {flag.field for flag in cli._FLAGS} == fields
    assert [flag.name for flag in cli._FLAGS] == sorted(flag.name for flag in cli._FLAGS)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("environment", "reason"),
    [({}, "/nonexistent"), ({"HTTPS_PROXY": "socks5://proxy:1"}, "HTTPS_PROXY must be")],
)
def test_a_start_that_fails_is_told_in_one_line(environment: dict[str, str], reason: str) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "provider_kms"),
            *("-endpoint=/nonexistent/kms.sock", "-health-port=127.0.0.1:0"),
        ],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert ended.returncode == 1
    assert '"could not start"' in ended.stderr
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(20)
def test_the_process_imports_only_what_it_needs() -> None:
    heavy = {"kubernetes", "requests", "aiohttp", "pydantic", "urllib3", "watchdog", "devkit"}
    heavy |= {"secrets_store", "cryptography", "click"}
    code = f"import sys, provider_kms.app; print(sorted({heavy!r} & set(sys.modules)))"

    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True
    )

    assert ended.stdout == "[]\n"
