"""The driver's own fixtures, for tests of what providers expect of it."""

from tests.contract.secrets_store.conftest import api, driver, node, provider_, start

__all__ = ["api", "driver", "node", "provider_", "start"]
