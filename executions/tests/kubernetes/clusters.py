"""The cluster that KUBECONFIG names, and namespaces on it as k8s/ makes them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from kubernetes import client, config, utils

from executions.sandbox.canary import PREFIX
from testing.deployment import Deployment

BASE = Path(__file__).resolve().parents[3] / "k8s" / "base"
SANDBOXES, PLATFORM = "coding-platform-sandboxes", "coding-platform"
ROLE = "sandbox-pods"
IMAGE = os.environ.get("SANDBOX_IMAGE", "coding-platform-sandbox-python:1")


def core_api() -> client.CoreV1Api:
    config.load_kube_config()
    return client.CoreV1Api()


@contextlib.contextmanager
def a_namespace() -> Iterator[str]:
    """Make a namespace with all that k8s/ puts into that of the sandboxes."""
    core = core_api()
    name = f"sandboxes-{secrets.token_hex(3)}"
    _create("sandboxes.yaml", {SANDBOXES: name})
    try:
        yield name
    finally:
        core.delete_namespace(name, grace_period_seconds=0)


@contextlib.contextmanager
def the_accounts(sandboxes: str) -> Iterator[str]:
    """Make those of the workers of these sandboxes; yield the namespace they are in."""
    core = core_api()
    name = f"platform-{secrets.token_hex(3)}"
    rights = client.RbacAuthorizationV1Api()
    _create("workers.yaml", {SANDBOXES: sandboxes, PLATFORM: name})
    try:
        yield name
    finally:
        rights.delete_namespaced_role_binding(ROLE, sandboxes)
        rights.delete_namespaced_role(ROLE, sandboxes)
        core.delete_namespace(name, grace_period_seconds=0)


def _create(file: str, names: Mapping[str, str]) -> None:
    """Create the objects of a file, with other names for its namespaces."""
    for thing in yaml.safe_load_all((BASE / file).read_text()):
        for place in (thing["metadata"], *thing.get("subjects", ())):
            for field in ("namespace", "name"):
                if field in place:
                    place[field] = names.get(place[field], place[field])
        utils.create_from_dict(client.ApiClient(), thing)


def pods_in_use(
    deployment: Deployment, core: client.CoreV1Api, namespace: str
) -> list[str]:
    """Name the pods that there are, without canaries and those that wait."""
    waiting = {
        row["name"]
        for row in deployment.rows(
            "SELECT name FROM executions_sandboxpod "
            "WHERE state IN ('starting', 'ready')"
        )
    }
    names = [pod.metadata.name for pod in core.list_namespaced_pod(namespace).items]
    return [n for n in names if n not in waiting and not n.startswith(PREFIX)]
