"""A real cluster (KUBECONFIG), with a namespace of the tests' own as k8s/ makes it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils

from executions.runtimes.python import PYTHON
from executions.sandbox.base import RunSpec
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import DEFAULT_PROFILES, Cluster
from executions.tests.sandbox import conftest as sandboxes

ROOT = Path(__file__).resolve().parents[3]
OBJECTS = ROOT / "k8s" / "base" / "sandboxes.yaml"
IMAGE = os.environ.get("SANDBOX_IMAGE", "coding-platform-sandbox-python:1")
SECRET = b"of these tests"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def core() -> client.CoreV1Api:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("these tests need a cluster: set KUBECONFIG")
    config.load_kube_config()
    return client.CoreV1Api()


@pytest.fixture(scope="session")
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    """Return a namespace with all that k8s/ puts into that of the sandboxes."""
    name = f"sandboxes-{secrets.token_hex(3)}"
    for thing in yaml.safe_load_all(OBJECTS.read_text()):
        if thing["kind"] == "Namespace":
            thing["metadata"]["name"] = name
        else:
            thing["metadata"]["namespace"] = name
        utils.create_from_dict(client.ApiClient(), thing)
    yield name
    core.delete_namespace(name, grace_period_seconds=0)


def cluster_of(namespace: str, **fields: Any) -> Cluster:
    images = {profile.name: IMAGE for profile in DEFAULT_PROFILES}
    return Cluster(**{"namespace": namespace, "images": images, **fields})


Make = Callable[..., KubernetesBackend]


@pytest.fixture
def make(namespace: str) -> Iterator[Make]:
    """Return a function that makes workers' backends."""
    made: list[KubernetesBackend] = []

    def one(**fields: Any) -> KubernetesBackend:
        profiles = {profile.name: profile for profile in DEFAULT_PROFILES}
        cluster = cluster_of(namespace, **fields)
        made.append(KubernetesBackend(cluster, profiles, secret=SECRET))
        return made[-1]

    yield one
    for backend in made:
        for key in backend.held():
            backend.discard(key)
        backend.close()


@pytest.fixture
def backend(make: Make) -> KubernetesBackend:
    return make()


def spec(source: str = "", **fields: Any) -> RunSpec:
    """Return a run of one Python file, with a key as the platform's are."""
    # As settings have it where programs run in pods.
    usual = {"scratch_bytes": DEFAULT_PROFILES[0].scratch_bytes}
    fields["limits"] = usual | fields.get("limits", {})
    fields.setdefault("key", f"{secrets.token_hex(4)}-{next(_numbers)}")
    return sandboxes.spec(source, env=dict(PYTHON.env), **fields)
