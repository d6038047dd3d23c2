"""The pods that programs run in, as the API server is sent them: pure functions.

Bare and single-use, in the terms of Pod Security's "restricted" and beyond: no token,
no DNS, nothing writable but one memory-backed folder with a size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MIB: Final = 1 << 20

AGENT_PORT: Final = 8088
CONTAINER: Final = "sandbox"
# Where the image has links to from /tmp, the working folder and the like; see pod.py.
SCRATCH: Final = "/scratch"
# POSIX shared memory: in a folder of the volume, so that the same size holds for it.
SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108
SHARED_MEMORY_FOLDER: Final = "shm"
# Anybody may write to this file on the node's disk, which no size holds for; in the
# image it is in a folder that only root may enter.
MESSAGE_FILE: Final = "/opt/closed/message"
# In the image: its runtimes, as executions.runtimes.probe prints them.
RUNTIMES_FILE: Final = "/opt/agent/runtimes.txt"
APP_LABEL: Final = "app.kubernetes.io/name"
APP: Final = "coding-platform-sandbox"
KEY_LABEL: Final = "coding-platform/key"
PROFILE_LABEL: Final = "coding-platform/profile"
POOL_LABEL: Final = "coding-platform/pool"
SELECTOR: Final = f"{APP_LABEL}={APP}"
FENCE_GATE: Final = "coding-platform/fenced"
# Process limits count per uid on a node, so no two pods share one. Above what systems
# hand out to people, services and subordinate ids, below what a signed number holds.
_FIRST_UID: Final = 1_000_000_000
_UIDS: Final = 1_000_000_000
# With user namespaces a pod's users are nobody else's, and there are 65,536 of them.
_UID_INSIDE: Final = 1000
_GRACE_S: Final = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of a pod. Limits of memory and storage are requested as a whole.

    `cpu_request` and `cpu_limit` are Kubernetes quantities ("50m", "1").
    """

    name: str
    memory_bytes: int
    scratch_bytes: int
    cpu_request: str
    cpu_limit: str


DEFAULT_PROFILES: Final = (
    Profile("small", 256 * MIB, 64 * MIB, "25m", "1"),
    Profile("large", 1024 * MIB, 512 * MIB, "50m", "2"),
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all pods of an installation have in common.

    `runtime_class` and `priority_class` are left out when empty. `deadline_s` is the
    longest that a pod may live, counted by the kubelet from its start; one of the pool
    may wait for `waiting_s` before that. Unless the network is known to be open, agents
    wait until it is shut.
    """

    namespace: str
    images: Mapping[str, str]
    service_account: str = "sandbox-none"
    pull_policy: str = "IfNotPresent"
    runtime_class: str = ""
    priority_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    deadline_s: int = 900
    waiting_s: int = 600
    has_user_namespaces: bool = False
    has_open_network: bool = False


def uid_of(name: str) -> int:
    """Return the numeric user and group of the pod with this name, its own."""
    digest = hashlib.sha256(name.encode()).digest()
    return _FIRST_UID + int.from_bytes(digest[:8], "big") % _UIDS


def pod(  # noqa: PLR0913 - by keyword
    name: str,
    profile: Profile,
    cluster: Cluster,
    *,
    token: str,
    key: str = "",
    kind: str = "",
    prestart: str = "",
    deadline_s: int | None = None,
    is_canary: bool = False,
) -> dict[str, Any]:
    """Return a sandbox pod: its agent wants `token` in a follower's first frame.

    `key` names the attempt that it is made for, if it is for one, `kind` what a pod of
    the pool waits for. `prestart` names the interpreter that it starts ahead. A canary
    differs in one thing: its program is told where the API server is.
    """
    uid = _UID_INSIDE if cluster.has_user_namespaces else uid_of(name)
    labels = {APP_LABEL: APP, PROFILE_LABEL: profile.name}
    if key:
        labels[KEY_LABEL] = key
    if kind:
        labels[POOL_LABEL] = kind
    variables = {
        "SANDBOX_TOKEN": token,
        "SANDBOX_PRESTART": prestart,
        "SANDBOX_CANARY": "1" if is_canary else "",
    }
    if is_canary or cluster.has_open_network:
        # A canary is there to tell that the network is never shut.
        variables["SANDBOX_ISOLATION_S"] = "15" if is_canary else "0"
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_S,
        "activeDeadlineSeconds": deadline_s or cluster.deadline_s,
        "serviceAccountName": cluster.service_account,
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
        "tolerations": [*_lost_node(), *map(dict, cluster.tolerations)],
        "containers": [_container(profile, cluster, variables)],
        "volumes": [
            {
                "name": "scratch",
                "emptyDir": {
                    "medium": "Memory",
                    "sizeLimit": str(profile.scratch_bytes),
                },
            }
        ],
    }
    if cluster.has_user_namespaces:
        spec["hostUsers"] = False
    if cluster.runtime_class:
        spec["runtimeClassName"] = cluster.runtime_class
    if cluster.priority_class:
        spec["priorityClassName"] = cluster.priority_class
    if cluster.node_selector:
        spec["nodeSelector"] = dict(cluster.node_selector)
    metadata = {"name": name, "namespace": cluster.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class Kind(NamedTuple):
    """What a pod of the pool is ready for: a size, an interpreter or any program."""

    profile: Profile
    prestart: str = ""

    @property
    def name(self) -> str:
        return f"{self.profile.name}.{self.prestart}".rstrip(".")

    def pod(self, name: str, cluster: Cluster, *, token: str) -> dict[str, Any]:
        """Return a pod of the pool."""
        return pod(
            name,
            self.profile,
            cluster,
            token=token,
            kind=self.name,
            prestart=self.prestart,
            deadline_s=cluster.waiting_s + cluster.deadline_s,
        )

    def template(self, cluster: Cluster) -> str:
        """Return a hash of all that pods of this kind have in common."""
        made = self.pod("any", cluster, token="")
        text = json.dumps(made, sort_keys=True).encode()
        return hashlib.sha256(text).hexdigest()[:16]


def fence(name: str, profile: Profile, cluster: Cluster, *, key: str) -> dict[str, Any]:
    """Return a pod that takes a name and is never scheduled.

    An owner that was paused before it created its pod finds the name taken.
    """
    made = pod(name, profile, cluster, token="", key=key)
    made["spec"]["schedulingGates"] = [{"name": FENCE_GATE}]
    return made


def scratch_bytes(made: Mapping[str, Any]) -> int:
    """Return the size of the scratch volume of a pod that pod() made; 0 of others."""
    for volume in made["spec"].get("volumes") or ():
        size = str((volume.get("emptyDir") or {}).get("sizeLimit") or "")
        if volume.get("name") == "scratch" and size.isdigit():
            return int(size)
    return 0


def _container(
    profile: Profile, cluster: Cluster, variables: Mapping[str, str]
) -> dict[str, Any]:
    whole = {"memory": str(profile.memory_bytes), "ephemeral-storage": str(64 * MIB)}
    return {
        "name": CONTAINER,
        "image": cluster.images[profile.name],
        "imagePullPolicy": cluster.pull_policy,
        "env": [{"name": n, "value": text} for n, text in variables.items() if text],
        "ports": [{"name": "agent", "containerPort": AGENT_PORT}],
        "resources": {
            "requests": {**whole, "cpu": profile.cpu_request},
            "limits": {**whole, "cpu": profile.cpu_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": MESSAGE_FILE,
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            {
                "name": "scratch",
                "mountPath": SHARED_MEMORY,
                "subPath": SHARED_MEMORY_FOLDER,
            },
        ],
    }


def _lost_node() -> list[dict[str, Any]]:
    """Have a lost node free its runs within seconds instead of five minutes."""
    return [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 5,
        }
        for state in ("not-ready", "unreachable")
    ]
