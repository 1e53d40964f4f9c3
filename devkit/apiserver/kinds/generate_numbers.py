"""Read the protobuf field numbers of the built-in types from Kubernetes' own sources into a file.

Run `python -m devkit.apiserver.kinds.generate_numbers FOLDER...` with the folders of the Go modules
k8s.io/api and k8s.io/apimachinery after the file of types was generated anew. Only numbers are
taken; names and types are those of the schemas.
"""

import json
import pathlib
import re
import sys

from devkit.apiserver.kinds import builtin_types

_PACKAGE = re.compile(r"^package ([\w.]+);", re.MULTILINE)
_MESSAGE = re.compile(r"^message (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(
    r"^ {2}(?:optional |repeated )?(?:map<[^>]*>|\.?([\w.]+)) (\w+) = (\d+)",
    re.MULTILINE,
)
Fields = list[tuple[str, int, str]]
_PREFIXES = ("k8s.io.api.", "k8s.io.apimachinery.pkg.apis.", "k8s.io.apimachinery.pkg.")


def _short(package: str) -> str:
    for prefix in _PREFIXES:
        if package.startswith(prefix):
            return package.removeprefix(prefix)
    return package


def _messages(folders: list[pathlib.Path]) -> dict[str, Fields]:
    """Return message → its fields as (name, number, type), all by short names."""
    found: dict[str, Fields] = {}
    for folder in folders:
        for path in sorted(folder.rglob("generated.proto")):
            text = path.read_text()
            package = _PACKAGE.search(text)
            assert package is not None, path
            prefix = _short(package.group(1))
            for message in _MESSAGE.finditer(text):
                found[f"{prefix}.{message.group(1)}"] = [
                    (name, int(number), _short(of) if "." in of else f"{prefix}.{of}")
                    for of, name, number in _FIELD.findall(message.group(2))
                ]
    return found


def _numbers(
    name: str, properties: dict[str, str], messages: dict[str, Fields]
) -> dict[str, object]:
    """Return property → number, and number → the same for messages whose fields stand for ours.

    Args:
        name: of the message.
        properties: the type's properties by their names in lower case.
        messages: all messages.
    """
    found: dict[str, object] = {}
    for field, number, of in messages[name]:
        if field.lower() in properties:
            found[properties[field.lower()]] = number
        elif of in messages and (inline := _numbers(of, properties, messages)):
            found[str(number)] = inline
    return found


def read(folders: list[pathlib.Path]) -> dict[str, dict[str, object]]:
    """Return the file's contents: type → field → number of the types that the schemas know."""
    messages = _messages(folders)
    found = {}
    for name in builtin_types.names():
        properties = builtin_types.of_type(name).get("properties")
        if name in messages and properties:
            found[name] = _numbers(name, {key.lower(): key for key in properties}, messages)
    return found


def main(arguments: list[str]) -> int:
    """Write the file; return the exit code."""
    if not arguments:
        sys.stderr.write("name the folders of the Go modules k8s.io/api and k8s.io/apimachinery\n")
        return 2
    found = read([pathlib.Path(argument) for argument in arguments])
    lines = [
        f" {json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}"
        for name, fields in sorted(found.items())
    ]
    builtin_types.NUMBERS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
