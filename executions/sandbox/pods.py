"""What a pod's object, as the API server tells it, says about a run: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from executions.sandbox.manifests import FENCE_GATE

Pod = Mapping[str, Any]

# Reasons of a waiting container; see the kubelet's pkg/kubelet/images/types.go and
# kuberuntime's errors. Those of images may pass by themselves for a while.
_NO_IMAGE: Final = frozenset(
    ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
)
_NO_CONTAINER: Final = frozenset(
    (
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    )
)
# Reasons with which a kubelet refuses a pod that was bound to it: nothing ran.
_REFUSED: Final = (
    "OutOf",
    "UnexpectedAdmissionError",
    "NodeAffinity",
    "NodeShutdown",
    "Preempting",
)


class Fate(StrEnum):
    """Why a pod can serve its run no longer."""

    MEMORY = "memory"  # the kernel killed something in it for the pod's memory limit
    DEADLINE = "deadline"  # it was older than it may become
    EVICTED = "evicted"  # by its node, by a drain or by a pod that matters more
    REFUSED = "refused"  # by the node: nothing ran
    DELETED = "deleted"  # by somebody else
    ENDED = "ended"  # by itself


class Problem(NamedTuple):
    """What keeps a pod from starting; `is_ours` if waiting will not help."""

    text: str
    is_ours: bool


def name(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def uid(pod: Pod) -> str:
    return str(pod["metadata"]["uid"])


def version(pod: Pod) -> int:
    """Return the version of the object; raises ValueError where it is no number."""
    return int(pod["metadata"]["resourceVersion"])


def label(pod: Pod, key: str) -> str:
    return str((pod["metadata"].get("labels") or {}).get(key, ""))


def address(pod: Pod) -> str:
    """Return the pod's address, or "" before it has one."""
    return str(_status(pod).get("podIP") or "")


def node_addresses(pod: Pod) -> list[str]:
    """Return the addresses of the node that a pod is on, as far as they are known."""
    status = _status(pod)
    found = [str(each.get("ip") or "") for each in status.get("hostIPs") or ()]
    return [ip for ip in found or [str(status.get("hostIP") or "")] if ip]


def is_running(pod: Pod) -> bool:
    return any(_states(pod, "running"))


def is_fenced(pod: Pod) -> bool:
    """Whether it is a fence of ours: others may hold pods back, too."""
    gates = pod["spec"].get("schedulingGates") or ()
    return any(gate.get("name") == FENCE_GATE for gate in gates)


def is_ending(pod: Pod) -> bool:
    """Whether somebody has deleted it already."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def problem(pod: Pod) -> Problem | None:
    """Return what keeps a pod that has not started from doing so, if anything does."""
    for waiting in _states(pod, "waiting"):
        reason, text = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        if reason in _NO_IMAGE:
            # The node's own limit of pulls a second is no fault of the image.
            is_ours = "pull QPS exceeded" not in text
            return Problem(f"the image cannot be pulled ({reason}): {text}", is_ours)
        if reason in _NO_CONTAINER:
            return Problem(f"no container can be made ({reason}): {text}", True)
    for condition in _status(pod).get("conditions") or ():
        is_held = condition.get("reason") == "Unschedulable"
        if condition.get("type") == "PodScheduled" and is_held:
            return Problem(f"no node has room: {condition.get('message', '')}", False)
    return None


def fate(pod: Pod, *, is_deleted: bool = False) -> tuple[Fate, str] | None:
    """Return how a pod has ended and why, in plain words; None while it lives.

    `is_deleted` when the object is the last that was seen of it.
    """
    if found := _out_of_memory(pod) or _taken_away(pod) or _ended(pod):
        return found
    if is_deleted or is_ending(pod):
        return Fate.DELETED, "the pod was deleted"
    return None


def _out_of_memory(pod: Pod) -> tuple[Fate, str] | None:
    # The container's exit status can be 0: the kernel kills a child, not PID 1.
    if any(s.get("reason") == "OOMKilled" for s in _states(pod, "terminated")):
        return Fate.MEMORY, "the pod was out of memory"
    return None


def _taken_away(pod: Pod) -> tuple[Fate, str] | None:
    """Return what the cluster did to a pod."""
    status = _status(pod)
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "DeadlineExceeded":
        return Fate.DEADLINE, "the pod was older than a pod may become"
    if reason == "Evicted":
        return Fate.EVICTED, f"the node evicted the pod: {message}"
    if reason.startswith(_REFUSED):
        return Fate.REFUSED, f"the node refused the pod ({reason}): {message}"
    for condition in status.get("conditions") or ():
        is_true = condition.get("status") == "True"
        if condition.get("type") == "DisruptionTarget" and is_true:
            why = condition.get("message") or condition.get("reason") or ""
            return Fate.EVICTED, f"the cluster took the pod away: {why}"
    return None


def _ended(pod: Pod) -> tuple[Fate, str] | None:
    for ended in _states(pod, "terminated"):
        code = ended.get("exitCode")
        return Fate.ENDED, f"the pod ended by itself (exit status {code})"
    phase = _status(pod).get("phase")
    if phase in ("Failed", "Succeeded"):
        return Fate.ENDED, f"the pod ended by itself ({phase})"
    return None


def _status(pod: Pod) -> Mapping[str, Any]:
    return pod.get("status") or {}


def _states(pod: Pod, state: str) -> Iterator[Mapping[str, Any]]:
    for container in _status(pod).get("containerStatuses") or ():
        if found := (container.get("state") or {}).get(state):
            yield found
