"""What each provider asks of its class: parameters, and the fields of its objects.

Parsers of the providers ignore what they do not know, so an unknown name is a warning, not an
error: most often a typing error. Source: the providers' own code, as of their versions of 2026.
"""

import dataclasses
from collections.abc import Mapping

COMMON = frozenset({"defaultMode"})


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one provider.

    Attributes:
        required: Parameters without which a mount fails.
        optional: The others that are known.
        booleans: Parameters that are true or false, as text.
        objects: The parameter with the list of objects; empty if there is none.
        under: Key below which the list lies, where the parameter is a map.
        strings: The list's items are YAML texts themselves.
        object_required, object_optional: Fields of one object.
        unique: Field, or the one it stands in for, that no two objects may share.
        choices: Field → allowed values.
        audience: Token audience that the CSIDriver object must list; empty if none is needed.
    """

    required: frozenset[str]
    optional: frozenset[str] = frozenset()
    booleans: frozenset[str] = frozenset()
    objects: str = ""
    under: str = ""
    strings: bool = False
    object_required: frozenset[str] = frozenset()
    object_optional: frozenset[str] = frozenset()
    unique: tuple[str, ...] = ()
    choices: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    audience: str = ""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VAULT = Rules(
    required=_names("roleName objects"),
    optional=_names(
        "vaultAddress vaultNamespace vaultAuthMountPath vaultKubernetesMountPath audience "
        "vaultSkipTLSVerify vaultCACertPath vaultCADirectory vaultTLSServerName "
        "vaultTLSClientCertPath vaultTLSClientKeyPath"
    ),
    objects="objects",
    object_required=_names("objectName secretPath"),
    object_optional=_names("secretKey method secretArgs filePermission encoding"),
    unique=("objectName",),
    audience="vault",
)

RULES: Mapping[str, Rules] = {
    "vault": _VAULT,
    "openbao": dataclasses.replace(
        _VAULT,
        optional=_VAULT.optional
        | frozenset(x.replace("vault", "openbao", 1) for x in _VAULT.optional),
        audience="openbao",
    ),
    "aws": Rules(
        required=_names("objects"),
        optional=_names(
            "region failoverRegion pathTranslation usePodIdentity preferredAddressType"
        ),
        booleans=_names("usePodIdentity"),
        objects="objects",
        object_required=_names("objectName"),
        object_optional=_names(
            "objectType objectAlias objectVersion objectVersionLabel filePermission jmesPath "
            "failoverObject"
        ),
        unique=("objectAlias", "objectName"),
        choices={"objectType": _names("secretsmanager ssmparameter")},
        audience="sts.amazonaws.com",
    ),
    "gcp": Rules(
        required=_names("secrets"),
        optional=_names("auth"),
        objects="secrets",
        object_required=_names("resourceName"),
        object_optional=_names("fileName path mode extractJSONKey extractYAMLKey"),
        unique=("path", "fileName"),
    ),
    "azure": Rules(
        required=_names("keyvaultName tenantID"),
        optional=_names(
            "tenantId objects clientID usePodIdentity useVMManagedIdentity "
            "userAssignedIdentityID useAzureTokenProxy cloudName cloudEnvFileName"
        ),
        booleans=_names("usePodIdentity useVMManagedIdentity useAzureTokenProxy"),
        objects="objects",
        under="array",
        strings=True,
        object_required=_names("objectName objectType"),
        object_optional=_names(
            "objectAlias objectVersion objectVersionHistory objectFormat objectEncoding "
            "filePermission"
        ),
        unique=("objectAlias", "objectName"),
        choices={
            "objectType": _names("secret key cert"),
            "objectFormat": _names("pem pfx"),
            "objectEncoding": _names("utf-8 base64 hex"),
        },
        audience="api://AzureADTokenExchange",
    ),
    "alibabacloud": Rules(
        required=_names("objects"),
        optional=_names("region pathTranslation usePodServiceAccountToken"),
        objects="objects",
        object_required=_names("objectName"),
        object_optional=_names(
            "objectType objectAlias objectVersion objectVersionLabel jmesPath kmsEndpoint "
            "crossAccountRoleArn"
        ),
        unique=("objectAlias", "objectName"),
        choices={"objectType": _names("kms oos")},
        audience="sts.aliyuncs.com",
    ),
    "kms": Rules(
        required=_names("authMethod projectId envSlug secrets"),
        optional=_names(
            "kmsUrl infisicalUrl identityId caCertificate audience useDefaultAudience "
            "windowDuration offlineGrace apiVersion expandSecretReferences includeImports format"
        ),
        booleans=_names("useDefaultAudience"),
        objects="secrets",
        object_optional=_names(
            "secretPath secretKey fileName keys recursive encoding jsonPath format optional mode"
        ),
        unique=("fileName",),
        choices={"encoding": _names("utf-8 base64 hex"), "format": _names("dotenv json raw")},
        audience="kms",
    ),
}
