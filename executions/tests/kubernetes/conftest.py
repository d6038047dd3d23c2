"""A real cluster (KUBECONFIG), with a namespace of the tests' own as k8s/ makes it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from executions.runtimes.python import PYTHON
from executions.sandbox.base import RunSpec
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import DEFAULT_PROFILES, Cluster
from executions.tests.kubernetes.clusters import IMAGE, a_namespace, core_api
from executions.tests.sandbox import conftest as sandboxes

SECRET = b"of these tests"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def core() -> client.CoreV1Api:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("these tests need a cluster: set KUBECONFIG")
    return core_api()


@pytest.fixture(scope="session")
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    with a_namespace() as name:
        yield name


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


def calls_of(backend: KubernetesBackend) -> dict[tuple[str, ...], int]:
    """Return the calls that were made for runs: those beside the shared watch."""
    calls = backend.api.calls.read()
    return {call: n for call, n in calls.items() if call[0] not in ("list", "watch")}
