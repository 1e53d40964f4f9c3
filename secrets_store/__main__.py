"""``python -m secrets_store`` is the driver."""

from secrets_store import cli

cli.main()
