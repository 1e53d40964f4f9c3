import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from secrets_store import cli, goflags, settings

EVERY_FLAG: dict[str, object] = {
    "endpoint": "unix:///csi/csi.sock",
    "drivername": "other.example.com",
    "nodeid": "node-1",
    "log-format-json": True,
    "provider-volume": "/run/p",
    "additional-provider-volume-paths": "/a,/b",
    "metrics-addr": "127.0.0.1:0",
    "enable-secret-rotation": True,
    "rotation-poll-interval": 30.0,
    "enable-pprof": True,
    "pprof-port": 6066,
    "max-call-recv-msg-size": 8388608,
    "provider-health-check": True,
    "provider-health-check-interval": 60.0,
    "version": True,
    "metrics-backend": "prometheus",
    "kubeconfig": "/k",
    "v": 5,
    "allow-attribute-override": True,
    "tmpfs-size": 1048576,
    "tmpfs-inodes": 100,
    "provider-concurrency": 2,
    "require-sync": True,
    "sync-namespaces": "a,b",
    "remove-startup-taint": True,
    "required-providers": "vault",
}


def written(value: object) -> str:
    return f"{value}s" if isinstance(value, float) else str(value).lower()


def test_no_flags_are_the_defaults() -> None:
    assert cli.parse([]) == settings.Settings()


@pytest.mark.parametrize("dashes", ["-", "--"])
def test_every_flag_reaches_its_setting(dashes: str) -> None:
    words = [f"{dashes}{name}={written(value)}" for name, value in EVERY_FLAG.items()]

    chosen = cli.parse(words)

    got = {settings.flag_name(x): getattr(chosen, x.name) for x in dataclasses.fields(chosen)}
    assert got == EVERY_FLAG


def test_a_flag_s_kind_follows_from_its_type() -> None:
    kinds = {name: flag.kind for name, flag in cli.flags().items()}

    assert kinds["endpoint"] == kinds["vmodule"] == "string"
    assert kinds["v"] == kinds["pprof-port"] == kinds["log_file_max_size"] == "int"
    assert kinds["version"] == kinds["logtostderr"] == "bool"
    assert kinds["rotation-poll-interval"] == "duration"


def test_klog_s_flags_are_accepted() -> None:
    words = [
        "-add_dir_header",
        "-alsologtostderr=true",
        "-log_backtrace_at",
        "file.go:12",
        "-log_dir=/tmp",
        "-log_file=x",
        "-log_file_max_size=1800",
        "-logtostderr=false",
        "-one_output",
        "-skip_headers",
        "-skip_log_headers",
        "-stderrthreshold=2",
        "-vmodule=a=1,b=2",
        "-v",
        "3",
    ]

    assert cli.parse(words) == settings.Settings(verbosity=3)


def test_upstream_s_daemonset_starts_us() -> None:
    chosen = cli.parse(
        [
            "--endpoint=unix:///csi/csi.sock",
            "--nodeid=node-1",
            "--provider-volume=/var/run/secrets-store-csi-providers",
            "--additional-provider-volume-paths=/etc/kubernetes/secrets-store-csi-providers",
            "--metrics-addr=:8095",
            "--enable-secret-rotation=true",
            "--rotation-poll-interval=30s",
            "--provider-health-check-interval=2m",
            "--max-call-recv-msg-size=4194304",
            "-v=5",
        ]
    )

    assert chosen == settings.Settings(
        endpoint="unix:///csi/csi.sock",
        node_id="node-1",
        enable_secret_rotation=True,
        rotation_poll_interval_s=30.0,
        verbosity=5,
    )


@pytest.mark.parametrize("words", [["-nope"], ["-v"], ["-v=x"], ["---v=1"]])
def test_faults_of_the_command_line(words: list[str]) -> None:
    with pytest.raises(goflags.UsageError):
        cli.parse(words)


def exit_code(words: Sequence[str]) -> object:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    return caught.value.code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-nope"], "flag provided but not defined: -nope"),
        (["-version=maybe"], 'invalid boolean value "maybe" for -version'),
        (["-rotation-poll-interval=120"], 'invalid value "120" for flag -rotation-poll-interval'),
        (["-pprof-port=x"], 'invalid value "x" for flag -pprof-port'),
    ],
)
def test_a_fault_is_told_with_the_usage_and_exit_code_2(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(words) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(told)
    assert "\nUsage of secrets-store-csi-driver:\n" in err
    assert all(f"\n  -{name}" in err for name in EVERY_FLAG)


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_no_fault(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([word]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage of secrets-store-csi-driver:\n")


@pytest.mark.parametrize("words", [["-version"], ["--version=1", "word", "-nope"]])
def test_the_version_is_one_line_of_json(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(words)

    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    line = json.loads(out)
    assert list(line) == ["BuildVersion", "GitCommit", "BuildDate"]
    assert line["BuildVersion"] == settings.VERSION


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-metrics-backend=OpenCensus"], "unsupported metrics backend OpenCensus"),
        (["-rotation-poll-interval=0"], "rotation-poll-interval must be positive"),
        (["-tmpfs-size=-1"], "tmpfs-size must not be negative"),
    ],
)
def test_a_value_that_cannot_be_used_ends_with_1(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(words) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"secrets-store-csi-driver: {told}")
    assert err.count("\n") == 1


def test_a_value_that_cannot_be_used_is_told_as_json_where_logs_are() -> None:
    told = run("-log-format-json", "-tmpfs-size=-1")

    assert (told.returncode, told.stdout) == (1, "")
    line = json.loads(told.stderr)
    assert (line["level"], line["message"]) == ("critical", "driver cannot start")
    assert line["error"].startswith("tmpfs-size must not be negative")


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secrets_store", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=20,
    )


@pytest.mark.timeout(30)
def test_as_a_process() -> None:
    told = run(
        "-version", SECRETS_STORE_GIT_COMMIT="abc123", SECRETS_STORE_BUILD_DATE="2026-01-02-03:04"
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert json.loads(told.stdout) == {
        "BuildVersion": settings.VERSION,
        "GitCommit": "abc123",
        "BuildDate": "2026-01-02-03:04",
    }

    refused = run("--nope")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("flag provided but not defined: -nope\nUsage of ")


@pytest.mark.timeout(30)
def test_usage_and_version_load_no_grpc() -> None:
    script = (
        "import sys; from secrets_store import cli; cli.main(['-version']);"
        "print(sorted({'grpc', 'asyncio', 'urllib3', 'click'} & sys.modules.keys()))"
    )

    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20
    )

    assert told.stdout.splitlines()[1] == "[]"
