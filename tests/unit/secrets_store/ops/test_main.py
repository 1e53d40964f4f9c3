from click.testing import CliRunner

from secrets_store import settings
from secrets_store.ops import main


def test_it_tells_its_commands_and_version() -> None:
    runner = CliRunner()
    told = runner.invoke(main.main, ["--help"]).output
    assert all(name in told for name in ("doctor", "lint", "status"))
    assert settings.VERSION in runner.invoke(main.main, ["--version"]).output
