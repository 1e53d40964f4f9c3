"""Run the provider with ``python -m provider_kms``."""

from provider_kms import cli

if __name__ == "__main__":
    cli.main()
