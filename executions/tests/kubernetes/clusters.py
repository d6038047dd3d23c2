"""The cluster that KUBECONFIG names, and namespaces on it as k8s/ makes them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import yaml
from kubernetes import client, config, utils

from testing.deployment import Deployment

OBJECTS = Path(__file__).resolve().parents[3] / "k8s" / "base" / "sandboxes.yaml"
IMAGE = os.environ.get("SANDBOX_IMAGE", "coding-platform-sandbox-python:1")


def core_api() -> client.CoreV1Api:
    config.load_kube_config()
    return client.CoreV1Api()


@contextlib.contextmanager
def a_namespace() -> Iterator[str]:
    """Make a namespace with all that k8s/ puts into that of the sandboxes."""
    core = core_api()
    name = f"sandboxes-{secrets.token_hex(3)}"
    for thing in yaml.safe_load_all(OBJECTS.read_text()):
        if thing["kind"] == "Namespace":
            thing["metadata"]["name"] = name
        else:
            thing["metadata"]["namespace"] = name
        utils.create_from_dict(client.ApiClient(), thing)
    try:
        yield name
    finally:
        core.delete_namespace(name, grace_period_seconds=0)


def pods_in_use(
    deployment: Deployment, core: client.CoreV1Api, namespace: str
) -> list[str]:
    """Name the pods that there are, without those that wait for a run."""
    waiting = {
        row["name"]
        for row in deployment.rows(
            "SELECT name FROM executions_sandboxpod "
            "WHERE state IN ('starting', 'ready')"
        )
    }
    names = [pod.metadata.name for pod in core.list_namespaced_pod(namespace).items]
    return [name for name in names if name not in waiting]
