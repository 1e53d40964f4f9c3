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
    ("argv", "code", "text"),
    [
        (["-h"], 0, "--kms-url"),
        (["--help"], 0, "--kms-url"),
        (["-nope"], 2, "flag provided but not defined: -nope"),
        (["-allow-plain-http=yes"], 2, "invalid boolean"),
        (["-cache-bound=5"], 2, "invalid duration"),
        (["-v=many"], 2, "many"),
        (["-endpoint=@abstract"], 2, "-endpoint"),
        (["-health-port=http"], 2, "-health-port"),
        (["-kms-url=ftp://h"], 2, "-kms-url"),
    ],
)
def test_usage_goes_to_stderr(
    argv: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(argv)

    out, err = capsys.readouterr()
    assert caught.value.code == code
    assert out == ""
    assert text in err
    assert "Usage: kms-csi-provider" in err


def test_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(["-version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out == f"kms-csi-provider {settings.VERSION}\n"


@pytest.mark.timeout(20)
def test_a_start_that_fails_is_told_in_one_line() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "provider_kms",
            "-endpoint=/nonexistent/kms.sock",
            "-health-port=127.0.0.1:0",
        ],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert ended.returncode == 1
    assert '"could not start"' in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.timeout(20)
def test_the_process_imports_only_what_it_needs() -> None:
    heavy = {"kubernetes", "requests", "aiohttp", "pydantic", "urllib3", "watchdog", "devkit"}
    heavy |= {"secrets_store", "cryptography"}
    code = f"import sys, provider_kms.cli; print(sorted({heavy!r} & set(sys.modules)))"

    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=15, check=True
    )

    assert ended.stdout == "[]\n"
