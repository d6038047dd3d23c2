"""The pods as the API server is sent them (rows K1 to K4 of the security rows)."""

from __future__ import annotations

from typing import Any

import pytest

from executions.sandbox import manifests
from executions.sandbox.manifests import (
    DEFAULT_PROFILES,
    MIB,
    SHARED_MEMORY,
    Cluster,
)

SMALL, LARGE = DEFAULT_PROFILES
CLUSTER = Cluster("sandboxes", {"small": "python@sha256:1", "large": "all@sha256:2"})


def made(**fields: Any) -> dict[str, Any]:
    return manifests.pod("exec-1", SMALL, CLUSTER, token="t", **fields)


def test_pod_is_this_one() -> None:
    uid = manifests.uid_of("exec-1")
    assert made(key="1-1", prestart="python") == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "exec-1",
            "namespace": "sandboxes",
            "labels": {
                "app.kubernetes.io/name": "coding-platform-sandbox",
                "coding-platform/profile": "small",
                "coding-platform/key": "1-1",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "activeDeadlineSeconds": 900,
            "serviceAccountName": "sandbox-none",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostname": "sandbox",
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": uid,
                "runAsGroup": uid,
                "fsGroup": uid,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{state}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 5,
                }
                for state in ("not-ready", "unreachable")
            ],
            "containers": [
                {
                    "name": "sandbox",
                    "image": "python@sha256:1",
                    "imagePullPolicy": "IfNotPresent",
                    "env": [
                        {"name": "SANDBOX_TOKEN", "value": "t"},
                        {"name": "SANDBOX_PRESTART", "value": "python"},
                    ],
                    "ports": [{"name": "agent", "containerPort": 8088}],
                    "resources": {
                        "requests": {
                            "memory": "268435456",
                            "ephemeral-storage": "67108864",
                            "cpu": "25m",
                        },
                        "limits": {
                            "memory": "268435456",
                            "ephemeral-storage": "67108864",
                            "cpu": "1",
                        },
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePath": "/opt/closed/message",
                    "volumeMounts": [
                        {"name": "scratch", "mountPath": "/scratch"},
                        {
                            "name": "scratch",
                            "mountPath": SHARED_MEMORY,
                            "subPath": "shm",
                        },
                    ],
                }
            ],
            "volumes": [
                {
                    "name": "scratch",
                    "emptyDir": {"medium": "Memory", "sizeLimit": "67108864"},
                }
            ],
        },
    }


def test_profile_decides_image_and_size() -> None:
    spec = manifests.pod("exec-2", LARGE, CLUSTER, token="t")["spec"]
    assert spec["containers"][0]["image"] == "all@sha256:2"
    assert spec["containers"][0]["resources"]["limits"]["memory"] == str(1024 * MIB)
    assert spec["volumes"][0]["emptyDir"]["sizeLimit"] == str(512 * MIB)


def test_cluster_adds_what_it_names() -> None:
    toleration = {"key": "sandbox", "operator": "Exists", "effect": "NoSchedule"}
    cluster = Cluster(
        "sandboxes",
        {"small": "image"},
        runtime_class="gvisor",
        priority_class="sandbox",
        node_selector={"pool": "sandbox"},
        tolerations=[toleration],
        has_user_namespaces=True,
    )
    spec = manifests.pod("exec-3", SMALL, cluster, token="t")["spec"]
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["priorityClassName"] == "sandbox"
    assert spec["nodeSelector"] == {"pool": "sandbox"}
    assert spec["tolerations"][-1] == toleration
    assert spec["hostUsers"] is False


@pytest.mark.parametrize("field", ["runtimeClassName", "nodeSelector", "hostUsers"])
def test_what_is_not_set_is_left_to_the_cluster(field: str) -> None:
    assert field not in made()["spec"]


def test_every_pod_has_a_uid_of_its_own() -> None:
    uids = {manifests.uid_of(f"exec-{n}") for n in range(10_000)}
    assert len(uids) > 9_990
    assert all(1_000_000_000 <= uid < 2_000_000_000 for uid in uids)


def test_fence_is_never_scheduled_and_knows_no_token() -> None:
    fence = manifests.fence("exec-1", SMALL, CLUSTER, key="1-1")
    assert fence["spec"]["schedulingGates"] == [{"name": "coding-platform/fenced"}]
    assert fence["spec"]["containers"][0]["env"] == []
