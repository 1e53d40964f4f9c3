"""``secrets-store``: the operator's command. Here weight does not matter, words do."""

import click

from secrets_store import settings
from secrets_store.ops import doctor, lint, status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(settings.VERSION)
def main() -> None:
    """Look at, check and mend what mounts secrets into pods."""


main.add_command(lint.command)
main.add_command(status.command)
main.add_command(doctor.command)
