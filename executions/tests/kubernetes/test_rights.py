"""What the accounts of k8s/base may do: run programs in pods, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from executions.tests.kubernetes.clusters import IMAGE, core_api, the_accounts
from testing.deployment import Client, Deployment
from testing.kubeconfigs import kubeconfig_of
from testing.servers import wait_until

pytestmark = pytest.mark.cluster

ACCOUNTS = ("worker", "sandbox-controller")
NEEDED = {("pods", verb) for verb in ("create", "get", "list", "watch", "delete")}
REFUSED = (
    ("create", "pods", "exec"),
    ("create", "pods", "attach"),
    ("get", "pods", "log"),
    ("update", "pods", "ephemeralcontainers"),
    ("get", "secrets", ""),
    ("get", "configmaps", ""),
    ("create", "serviceaccounts", "token"),
)
READY = "SELECT 1 FROM executions_sandboxpod WHERE state = 'ready'"
ROW = re.compile(r"^(?P<what>\S*) +\[(?P<urls>.*)\] +\[.*\] +\[(?P<verbs>.*)\]$")


@pytest.fixture(scope="module")
def accounts(namespace: str) -> Iterator[str]:
    with the_accounts(namespace) as name:
        yield name


def rights(kubeconfig: Path, namespace: str) -> set[tuple[str, str]]:
    """Return what `kubectl auth can-i --list` tells: resources or URLs, and verbs."""
    told = subprocess.run(
        ["kubectl", "auth", "can-i", "--list", "-n", namespace],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    found = set()
    for line in told.splitlines()[1:]:
        row = ROW.match(line)
        assert row is not None, line
        what = row["what"] or row["urls"]
        found |= {(what, verb) for verb in row["verbs"].split()}
    return found


def may(kubeconfig: Path, namespace: str, verb: str, what: str, part: str) -> bool:
    done = subprocess.run(
        ["kubectl", "auth", "can-i", verb, what, f"--subresource={part}",
         "-n", namespace],
        env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.strip() in ("yes", "no")
    return done.stdout.strip() == "yes"


@pytest.fixture(scope="module")
def nobody(
    accounts: str, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> set[tuple[str, str]]:
    """Return the rights of an account without any binding."""
    core_api().create_namespaced_service_account(
        accounts, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="nobody"))
    )
    file = kubeconfig_of("nobody", accounts, tmp_path_factory.mktemp("nobody"))
    return rights(file, namespace)


@pytest.mark.parametrize("account", ACCOUNTS)
def test_rights_are_these(
    account: str,
    nobody: set[tuple[str, str]],
    accounts: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    its = kubeconfig_of(account, accounts, tmp_path)
    assert rights(its, namespace) - nobody == NEEDED
    for elsewhere in ("default", "kube-system", accounts):
        assert rights(its, elsewhere) == nobody
    assert [asked for asked in REFUSED if may(its, namespace, *asked)] == []
    assert may(its, namespace, "delete", "pods", "")


def test_rights_are_enough(accounts: str, namespace: str, tmp_path: Path) -> None:
    """A worker and a controller that speak as these accounts keep a pool and use it."""
    settings = {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": namespace,
        "SANDBOX_IMAGE": IMAGE,
        "SANDBOX_POOL": '{"small.python": [1, 1]}',
    }
    with Deployment(workers=1, controllers=1, settings=settings) as deployment:
        for command, account in zip(
            (*deployment.workers, *deployment.controllers), ACCOUNTS, strict=True
        ):
            command.stop()
            command.env["KUBECONFIG"] = str(kubeconfig_of(account, accounts, tmp_path))
            command.start()
        wait_until(lambda: deployment.rows(READY) != [], "a pod waits", timeout_s=60)
        hello(deployment.client())
        deployment.controllers[0].stop()
        hello(deployment.client())
        hello(deployment.client())


def hello(client: Client) -> None:
    answer = client.submit(wait_s=60, runtime="python", source="print(42)")
    assert (answer.body["verdict"], answer.body["reason"]) == ("ok", "")
