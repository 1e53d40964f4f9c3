"""The JSON of secrets and import blocks.

A value of None means that it is not shown: `secretValueHidden` and the mask take its place.

Source: kms-http-api §2.4, whose table tells which field stands where.
"""

import uuid
from collections.abc import Sequence

from devkit.kms import errors, imports, model

MASK = "<hidden-by-kms>"


def own(
    secret: model.Secret, value: str | None, project: str, environment: str, path: str
) -> errors.JSON:
    """Render a secret as single reads and `secrets[]` show it."""
    return {
        **_base(secret, value, environment),
        "workspace": project,
        "secretPath": path,
        "createdAt": model.iso_time(secret.created_at),
        "updatedAt": model.iso_time(secret.updated_at),
        "tags": [
            {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, slug)), "slug": slug, "name": slug}
            for slug in secret.tags
        ],
    }


def imported(secret: model.Secret, value: str | None, environment: str) -> errors.JSON:
    """Render a secret as `imports[].secrets[]` shows it: no path, no project, no times."""
    return {**_base(secret, value, environment), "workspace": ""}


def block(found: imports.Block, secrets: Sequence[errors.JSON]) -> errors.JSON:
    """Render an import block around its secrets."""
    return {
        "secretPath": found.path,
        "environment": found.environment,
        "folderId": found.folder_id,
        "secrets": secrets,
    }


def _base(secret: model.Secret, value: str | None, environment: str) -> errors.JSON:
    hidden = value is None or secret.hidden
    return {
        "id": secret.id,
        "_id": secret.id,
        "environment": environment,
        "secretKey": secret.key,
        "secretValue": MASK if hidden else value,
        "secretValueHidden": hidden,
        "secretComment": secret.comment,
        "version": secret.version,
        "type": "shared",
        "skipMultilineEncoding": secret.skip_multiline_encoding,
        "secretMetadata": [
            {"key": key, "value": text, "isEncrypted": False} for key, text in secret.metadata
        ],
    }
