"""The rules of a kind, by the resource they serve."""

from collections.abc import Callable

import pytest

from devkit.apiserver import resources, store
from devkit.apiserver.kinds import catalog, strategy


@pytest.fixture
def rules() -> Callable[[str, str], strategy.Strategy]:
    """Finds the rules of a built-in kind by apiVersion and kind."""
    table = resources.Table.with_built_ins()
    kinds = catalog.Catalog(store.Store())

    def find(api_version: str, kind: str) -> strategy.Strategy:
        resource = table.of_kind(api_version, kind)
        assert resource is not None
        return kinds.strategy(resource)

    return find
