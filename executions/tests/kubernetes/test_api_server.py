"""Workers and an API server that is away, refuses, or wants another token."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from django.core.management import CommandError, call_command
from kubernetes import client, config

from executions import backends, worker
from executions.sandbox.api_server import Api
from executions.sandbox.base import NoSandboxNow
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import DEFAULT_PROFILES
from executions.tests.core.conftest import beside
from executions.tests.kubernetes.clusters import the_accounts
from executions.tests.kubernetes.conftest import SECRET, Make, cluster_of, spec
from executions.tests.sandbox.conftest import finish
from testing.api_proxy import ApiProxy, Refusal, through_a_proxy
from testing.kubeconfigs import token_of
from testing.servers import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def proxy(core: object) -> Iterator[ApiProxy]:
    with through_a_proxy() as made:
        yield made


@pytest.fixture
def behind(
    proxy: ApiProxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KubernetesBackend]:
    """A worker's backend that finds the API server away, and is impatient."""
    monkeypatch.setattr("executions.sandbox.kubernetes._LISTED_TIMEOUT_S", 0.5)
    proxy.faults.is_down = True
    profiles = {profile.name: profile for profile in DEFAULT_PROFILES}
    made = KubernetesBackend(cluster_of(namespace), profiles, secret=SECRET)
    yield made
    made.close()


def test_server_that_is_away_says_nothing_of_what_can_run(
    proxy: ApiProxy, behind: KubernetesBackend
) -> None:
    with pytest.raises(NoSandboxNow):
        behind.problems()
    proxy.faults.heal()
    wait_until(lambda: behind.watch.wait_listed(1), "the pods listed")
    assert behind.problems() == []


def test_server_that_knows_nobody_may_yet_do_so(
    proxy: ApiProxy, behind: KubernetesBackend
) -> None:
    proxy.faults.refuse = lambda _: Refusal(401, "Unauthorized", "who are you?")
    proxy.faults.is_down = False
    wait_until(lambda: "who are you?" in str(behind.watch.problem), "told why")
    with pytest.raises(NoSandboxNow, match=r"\A[^\n]*who are you[^\n]*\Z"):
        behind.problems()


def test_run_is_followed_while_the_server_is_away(
    proxy: ApiProxy, behind: KubernetesBackend, make: Make
) -> None:
    proxy.faults.heal()
    run_spec = spec("import time; time.sleep(20); print('done')")
    session = make().start(run_spec)
    name = f"exec-{run_spec.key}"
    wait_until(lambda: behind._known(name) is not None, "the other worker knows")
    session.detach()
    proxy.faults.is_down = True
    outcome, _ = finish(behind.attach(run_spec.key))
    assert outcome.cases[0].stdout.head == b"done\n"


def test_server_that_refuses_is_a_problem(
    proxy: ApiProxy, behind: KubernetesBackend
) -> None:
    proxy.faults.refuse = lambda _: Refusal(403, "Forbidden", "nobody may list pods")
    proxy.faults.is_down = False
    wait_until(lambda: behind.watch.failures > 2, "refused")
    wait_until(lambda: "nobody may" in str(behind.watch.problem), "told why")
    (problem,) = behind.problems()
    assert "nobody may list pods" in problem


def test_cluster_that_is_not_known_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    settings.SANDBOX_BACKEND = "kubernetes"
    with pytest.raises(CommandError, match="no cluster is known"):
        call_command("run_sandbox_controller")


def test_worker_waits_for_the_server_as_it_does_for_the_database(
    proxy: ApiProxy, behind: KubernetesBackend
) -> None:
    before = backends.use(behind)
    found: list[list[str]] = []
    try:
        waiting = beside(lambda: found.append(worker._problems()))
        wait_until(lambda: behind.watch.failures > 3, "tried more than once")
        assert not found
        proxy.faults.heal()
        waiting.join(30)
    finally:
        backends.use(before)
    assert found == [[]]


@pytest.fixture
def token(namespace: str) -> Iterator[str]:
    """A token as workers have it."""
    with the_accounts(namespace) as platform:
        yield token_of("worker", platform)


@pytest.fixture(params=["service account", "kubeconfig"])
def token_file(
    request: pytest.FixtureRequest,
    core: client.CoreV1Api,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The file of the token that a process in, or outside of, the cluster has."""
    settings: Any = client.Configuration()
    config.load_kube_config(client_configuration=settings)
    file = tmp_path / "token"
    if request.param == "service account":
        server = urlsplit(settings.host)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.hostname or "")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        where = "kubernetes.config.incluster_config.SERVICE_"
        monkeypatch.setattr(f"{where}TOKEN_FILENAME", str(file))
        monkeypatch.setattr(f"{where}CERT_FILENAME", settings.ssl_ca_cert)
        return file
    authority = base64.b64encode(Path(settings.ssl_ca_cert).read_bytes()).decode()
    known = {"server": settings.host, "certificate-authority-data": authority}
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": known}],
                "users": [{"name": "worker", "user": {"tokenFile": str(file)}}],
                "contexts": [
                    {"name": "here", "context": {"cluster": "here", "user": "worker"}}
                ],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return file


def test_token_that_has_expired_is_read_again(
    token: str, token_file: Path, namespace: str
) -> None:
    token_file.write_text("of yesterday")
    api = Api(namespace, 2)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(api.get, "nobody")
        wait_until(lambda: api.calls.read()["get", "401"] > 1, "refused twice")
        token_file.write_text(token)
        # It is let in, so it is told that there is no such pod.
        with pytest.raises(LookupError):
            asked.result(30)
