import pathlib
import textwrap

import pytest
from click.testing import CliRunner

from secrets_store.ops import lint, main

GOOD = """\
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata:
  name: app
  namespace: shop
spec:
  provider: kms
  parameters:
    authMethod: kubernetes
    identityId: 6e0b
    projectId: p1
    envSlug: prod
    secrets: |
      - secretPath: /app
        secretKey: DB_PASSWORD
        fileName: db-password
  secretObjects:
    - secretName: app
      type: Opaque
      data:
        - objectName: db-password
          key: password
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
spec:
  containers:
    - name: web
      image: web
      volumeMounts:
        - name: secrets
          mountPath: /secrets
  volumes:
    - name: secrets
      csi:
        driver: secrets-store.csi.k8s.io
        readOnly: true
        volumeAttributes:
          secretProviderClass: app
"""


def found(tmp_path: pathlib.Path, text: str) -> list[tuple[int, str, str]]:
    file = tmp_path / "objects.yaml"
    file.write_text(textwrap.dedent(text))
    return [(x.line, x.severity, x.message) for x in sorted(lint.check([file]))]


def test_a_good_file_has_no_findings(tmp_path: pathlib.Path) -> None:
    assert found(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "severity", "message"),
    [
        ("provider: kms", "provider: ''", 6, "error", "spec.provider is not set"),
        ("provider: kms", "provider: mine", 7, "warning", "provider 'mine' is not known here"),
        ("envSlug: prod", "envSlag: prod", 8, "error", "parameter envSlug of provider kms"),
        ("envSlug: prod", "envSlug: 7", 12, "error", "parameter envSlug must be text"),
        ("identityId: 6e0b", "identityld: 6e0b", 10, "warning", "kms knows no parameter"),
        ("- secretPath: /app", "- secretPath: [/app", 15, "error", "secrets: "),
        ("fileName: db-password", "fileNam: db-password", 14, "warning", "no field 'fileNam'"),
        ("fileName: db-password", "fileName: ../x", 14, "error", "must not contain '..'"),
        ("type: Opaque", "type: ''", 18, "error", "type is empty"),
        (
            "type: Opaque",
            "type: kubernetes.io/service-account-token",
            18,
            "error",
            "Secrets of type kubernetes.io/service-account-token are not made",
        ),
        ("objectName: db-password", "objectName: pw", 21, "warning", "no object of this class"),
        ("key: password", "kee: password", 21, "error", "objectName and key must be set"),
        ("readOnly: true", "readOnly: false", 37, "error", "csi.readOnly must be true"),
        ("secretProviderClass: app", "secretProviderClass: ap", 37, "warning", "class 'ap' is not"),
        ("secretProviderClass: app", "other: app", 37, "error", "secretProviderClass is not set"),
        ("mountPath: /secrets", "subPath: x", 34, "warning", "by subPath is never refreshed"),
        ("namespace: shop\nspec:\n  provider", "annotations: "
         "{secrets-store.csi.k8s.io/rotation-interval: soon}\nspec:\n  provider",
         5, "error", "annotation secrets-store.csi.k8s.io/rotation-interval"),
    ],
)  # fmt: skip
def test_one_thing_wrong(
    tmp_path: pathlib.Path, old: str, new: str, line: int, severity: str, message: str
) -> None:
    assert old in GOOD
    findings = found(tmp_path, GOOD.replace(old, new, 1))
    assert any(x[:2] == (line, severity) and message in x[2] for x in findings), findings


def test_one_file_name_twice(tmp_path: pathlib.Path) -> None:
    twice = GOOD.replace(
        "        fileName: db-password\n",
        "        fileName: db-password\n"
        "      - {secretPath: /app, secretKey: OTHER, fileName: db-password}\n",
        1,
    )
    assert found(tmp_path, twice) == [(17, "error", "file name 'db-password' was used on line 14")]


def test_azure_s_objects_are_texts_in_a_map(tmp_path: pathlib.Path) -> None:
    text = """\
    kind: SecretProviderClass
    metadata: {name: a}
    spec:
      provider: azure
      parameters:
        keyvaultName: vault
        tenantID: t
        objects: |
          array:
            - |
              objectName: one
              objectType: secret
            - |
              objectName: two
              objectType: sekret
    """
    assert found(tmp_path, text) == [
        (13, "error", "objects[1]: objectType must be one of cert, key, secret")
    ]


def test_what_is_no_yaml_is_an_error_with_its_line(tmp_path: pathlib.Path) -> None:
    ((line, severity, _),) = found(tmp_path, "a: 1\nb: [1\n")
    assert (line, severity) == (3, "error")


def test_templates_of_workloads_are_looked_into(tmp_path: pathlib.Path) -> None:
    text = """\
    kind: CronJob
    metadata: {name: a}
    spec:
      jobTemplate:
        spec:
          template:
            spec:
              volumes:
                - name: s
                  csi: {driver: secrets-store.csi.k8s.io}
    """
    assert [x[0] for x in found(tmp_path, text)] == [9, 9]


def test_the_exit_code_tells_of_errors_only(tmp_path: pathlib.Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    runner = CliRunner()
    assert runner.invoke(main.main, ["lint", str(tmp_path)]).exit_code == 0
    (tmp_path / "bad.yaml").write_text(GOOD.replace("readOnly: true", "readOnly: false"))
    result = runner.invoke(main.main, ["lint", str(tmp_path)])
    assert result.exit_code == 1
    assert "bad.yaml:37: error:" in result.output
