"""Every module of the products has tests of its own, where one looks for them."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("csi_spec", "secrets_store", "provider_kms")
# What runs the procedures as a whole may be tested as a whole, on the driver's own socket.
MIRRORS = {
    "csi_spec": ("tests/unit",),
    "provider_kms": ("tests/unit",),
    "secrets_store": ("tests/unit", "tests/contract"),
}


def has_definitions(module: pathlib.Path) -> bool:
    """Tell whether there is anything to test: a function or a class."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in ast.walk(ast.parse(module.read_bytes())))


def modules() -> list[pathlib.Path]:
    """Return the modules that people have written, by path below the root."""
    found = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return [
        path.relative_to(ROOT)
        for path in found
        if path.name not in ("__init__.py", "__main__.py")
        and "_pb2" not in path.name
        and has_definitions(path)
    ]


def holds_tests(path: pathlib.Path) -> bool:
    if not path.is_file():
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_bytes()))
    )


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_has_its_mirror(module: pathlib.Path) -> None:
    places = [
        ROOT / base / module.parent / f"test_{module.name}" for base in MIRRORS[module.parts[0]]
    ]

    assert any(map(holds_tests, places)), (
        f"no tests in {' or '.join(str(place.relative_to(ROOT)) for place in places)}"
    )


def test_the_modules_are_found() -> None:
    found = {str(path) for path in modules()}

    assert {"csi_spec/rpc.py", "secrets_store/host/mount.py", "provider_kms/app.py"} <= found
    assert "secrets_store/csi/context.py" not in found
