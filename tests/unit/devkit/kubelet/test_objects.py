"""Kubernetes objects as the stand-in kubelet reads them."""

import secrets

import pytest

from devkit.kubelet import objects


def test_a_pod_from_the_api() -> None:
    pod = objects.Pod.from_dict(
        {
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
            "spec": {"serviceAccountName": "seller", "securityContext": {"fsGroup": 7}},
        }
    )
    assert pod == objects.Pod("web", "shop", "u1", "seller", 7)


def test_a_bare_pod_has_kubernetes_defaults() -> None:
    pod = objects.Pod.from_dict({"metadata": {"name": "web", "uid": "u1"}, "spec": {}})
    assert pod == objects.Pod("web", "default", "u1", "default", None)


def test_a_volume_from_a_pod_spec() -> None:
    volume = objects.Volume.from_dict(
        {
            "name": "store",
            "csi": {
                "driver": "drv.io",
                "readOnly": True,
                "volumeAttributes": {"secretProviderClass": "one"},
                "nodePublishSecretRef": {"name": "login"},
            },
        }
    )
    assert volume == objects.Volume(
        "store", {"secretProviderClass": "one"}, "drv.io", secret_name="login"
    )


def test_a_volume_is_writable_unless_it_says_otherwise() -> None:
    assert not objects.Volume.from_dict({"name": "v", "csi": {"driver": "d"}}).read_only


def test_other_volumes_are_refused() -> None:
    with pytest.raises(KeyError):
        objects.Volume.from_dict({"name": "v", "emptyDir": {}})


def test_secrets_stay_out_of_the_repr() -> None:
    password = secrets.token_hex()
    assert password not in repr(objects.Volume("v", secrets={"p": password}))


def test_a_driver_manifest() -> None:
    driver = objects.CsiDriver.from_dict(
        {
            "metadata": {"name": "drv.io"},
            "spec": {
                "podInfoOnMount": True,
                "requiresRepublish": True,
                "tokenRequests": [{"audience": "kms", "expirationSeconds": 600}, {"audience": ""}],
                "serviceAccountTokenInSecrets": True,
            },
        }
    )
    requests = (objects.TokenRequest("kms", 600), objects.TokenRequest("", 3600))
    assert driver == objects.CsiDriver("drv.io", True, True, requests, True)


def test_a_bare_driver_manifest_has_kubernetes_defaults() -> None:
    driver = objects.CsiDriver.from_dict({"metadata": {"name": "drv.io"}})
    assert driver == objects.CsiDriver("drv.io", False, False, (), False)
