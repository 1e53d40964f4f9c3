"""What upstream's manifests install, as facts: the fields that a change in place depends on.

Source: deploy/ and the chart of secrets-store-csi-driver v1.5.6 and v1.6.0.
"""

from typing import Any

from devkit.apiserver import crds

VERSIONS = ("v1.5.6", "v1.6.0")
ACCOUNT = "secrets-store-csi-driver"
GROUP = "secrets-store.csi.x-k8s.io"
_SIDECARS = {"v1.5.6": ("v2.13.0", "v2.15.0"), "v1.6.0": ("v2.16.0", "v2.18.0")}
Object = dict[str, Any]

PLAIN_ARGUMENTS = (
    "--endpoint=$(CSI_ENDPOINT)",
    "--nodeid=$(KUBE_NODE_NAME)",
    "--provider-volume=/var/run/secrets-store-csi-providers",
    "--additional-provider-volume-paths=/etc/kubernetes/secrets-store-csi-providers",
    "--metrics-addr=:8095",
    "--enable-secret-rotation=false",
    "--rotation-poll-interval=2m",
    "--provider-health-check=false",
    "--provider-health-check-interval=2m",
)
CHART_ARGUMENTS = (
    "-v=5",
    "--log-format-json=true",
    "--endpoint=$(CSI_ENDPOINT)",
    "--nodeid=$(KUBE_NODE_NAME)",
    "--provider-volume=/var/run/secrets-store-csi-providers",
    "--additional-provider-volume-paths=/etc/kubernetes/secrets-store-csi-providers",
    "--enable-secret-rotation=true",
    "--rotation-poll-interval=30s",
    "--metrics-addr=:8095",
    "--provider-health-check=true",
    "--provider-health-check-interval=2m",
    "--max-call-recv-msg-size=4194304",
)
"""With every value set that adds a flag."""

ENVIRONMENT = (
    {"name": "CSI_ENDPOINT", "value": "unix:///csi/csi.sock"},
    {
        "name": "KUBE_NODE_NAME",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
    },
)
HOST_PATHS = {
    "mountpoint-dir": ("/var/lib/kubelet/pods", "DirectoryOrCreate"),
    "registration-dir": ("/var/lib/kubelet/plugins_registry/", "Directory"),
    "plugin-dir": ("/var/lib/kubelet/plugins/csi-secrets-store/", "DirectoryOrCreate"),
    "providers-dir": ("/etc/kubernetes/secrets-store-csi-providers", "DirectoryOrCreate"),
    "providers-dir-0": ("/var/run/secrets-store-csi-providers", "DirectoryOrCreate"),
}
MOUNTS = {
    "node-driver-registrar": {"plugin-dir": "/csi", "registration-dir": "/registration"},
    "secrets-store": {
        "plugin-dir": "/csi",
        "mountpoint-dir": "/var/lib/kubelet/pods",
        "providers-dir": "/etc/kubernetes/secrets-store-csi-providers",
        "providers-dir-0": "/var/run/secrets-store-csi-providers",
    },
    "liveness-probe": {"plugin-dir": "/csi"},
}


def daemon_set(version: str) -> Object:
    """Return the DaemonSet of the plain manifests."""
    registrar, probe = _SIDECARS[version]
    small = {
        "limits": {"cpu": "100m", "memory": "100Mi"},
        "requests": {"cpu": "10m", "memory": "20Mi"},
    }
    driver = {
        "image": f"registry.k8s.io/csi-secrets-store/driver:{version}",
        "args": list(PLAIN_ARGUMENTS),
        "env": list(ENVIRONMENT),
        "securityContext": {"privileged": True},
        "ports": [
            {"containerPort": 9808, "name": "healthz", "protocol": "TCP"},
            {"containerPort": 8095, "name": "metrics", "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "healthz"},
            "failureThreshold": 5,
            "initialDelaySeconds": 30,
            "timeoutSeconds": 10,
            "periodSeconds": 15,
        },
        "resources": {
            "limits": {"cpu": "200m", "memory": "200Mi"},
            "requests": {"cpu": "50m", "memory": "100Mi"},
        },
    }
    images: dict[str, Object] = {
        "node-driver-registrar": {
            "image": f"registry.k8s.io/sig-storage/csi-node-driver-registrar:{registrar}",
            "args": [
                "--v=5",
                "--csi-address=/csi/csi.sock",
                "--kubelet-registration-path=/var/lib/kubelet/plugins/csi-secrets-store/csi.sock",
            ],
            "resources": small,
        },
        "secrets-store": driver,
        "liveness-probe": {
            "image": f"registry.k8s.io/sig-storage/livenessprobe:{probe}",
            "args": [
                "--csi-address=/csi/csi.sock",
                "--probe-timeout=3s",
                "--http-endpoint=0.0.0.0:9808",
                "-v=2",
            ],
            "resources": small,
        },
    }
    labels = {"app": "csi-secrets-store"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "csi-secrets-store", "namespace": "kube-system"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": ACCOUNT,
                    "containers": [
                        {"name": name, "volumeMounts": _mounts(name), **fields}
                        for name, fields in images.items()
                    ],
                    "volumes": [
                        {"name": name, "hostPath": {"path": path, "type": kind}}
                        for name, (path, kind) in HOST_PATHS.items()
                    ],
                    "nodeSelector": {"kubernetes.io/os": "linux"},
                    "tolerations": [{"operator": "Exists"}],
                },
            },
        },
    }


def _mounts(container: str) -> list[Object]:
    mounts: list[Object] = [
        {"name": name, "mountPath": path} for name, path in MOUNTS[container].items()
    ]
    for mount in mounts:
        if mount["name"] == "mountpoint-dir":
            mount["mountPropagation"] = "Bidirectional"
    return mounts


def csi_driver(version: str) -> Object:
    """Return the CSIDriver of the plain manifests."""
    spec: Object = {
        "podInfoOnMount": True,
        "attachRequired": False,
        "volumeLifecycleModes": ["Ephemeral"],
    }
    if version == "v1.6.0":
        spec["requiresRepublish"] = True
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": "secrets-store.csi.k8s.io"},
        "spec": spec,
    }


def rights(version: str) -> list[Object]:
    """Return the service account and all cluster roles that are bound to it."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": "kube-system"},
    }
    granted: list[Object] = [
        _bound(
            "secretproviderclasses",
            _rule("", "events", "create", "patch"),
            _rule("", "pods", "get", "list", "watch"),
            _rule(GROUP, "secretproviderclasses", "get", "list", "watch"),
            _rule(
                GROUP,
                "secretproviderclasspodstatuses",
                *("create", "delete", "get", "list", "patch", "update", "watch"),
            ),
            _rule(GROUP, "secretproviderclasspodstatuses/status", "get", "patch", "update"),
            _rule("storage.k8s.io", "csidrivers", "get", "list", "watch")
            | {"resourceNames": ["secrets-store.csi.k8s.io"]},
        ),
        _bound(
            "secretprovidersyncing",
            _rule("", "secrets", "create", "delete", "get", "list", "patch", "update", "watch"),
        ),
    ]
    if version == "v1.5.6":
        granted += [
            _bound("secretproviderrotation", _rule("", "secrets", "get", "list", "watch")),
            _bound("secretprovidertokenrequest", _rule("", "serviceaccounts/token", "create")),
        ]
    return [account, *(obj for pair in granted for obj in pair["items"])]


def _rule(group: str, resource: str, *verbs: str) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}


def _bound(name: str, *rules: Object) -> Object:
    api_version = "rbac.authorization.k8s.io/v1"
    role = {
        "apiVersion": api_version,
        "kind": "ClusterRole",
        "metadata": {"name": f"{name}-role"},
        "rules": list(rules),
    }
    binding = {
        "apiVersion": api_version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{name}-rolebinding"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"{name}-role",
        },
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "kube-system"}],
    }
    return {"items": [role, binding]}


def installed(version: str) -> list[Object]:
    """Return everything that matters of one version's plain manifests."""
    return [
        *crds.secrets_store_crds(),
        csi_driver(version),
        *rights(version),
        daemon_set(version),
    ]
