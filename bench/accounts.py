"""Accounts of the bench's own, whose calls the API server counts apart.

A FlowSchema for each verb of each account, as the API server tells how many requests
each FlowSchema let through. Needs an admin's KUBECONFIG; all is gone at the end.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from testing.kubeconfigs import kubeconfig_of
from testing.servers import wait_until

VERBS = ("create", "get", "delete", "patch", "list", "watch")
ROLE = "sandbox-pods"
TOKEN_S = 4 * 3600
# Before those that a cluster has for service accounts.
PRECEDENCE = 700
_COUNTED = re.compile(
    r"^apiserver_flowcontrol_dispatched_requests_total"
    r'\{flow_schema="([^"]+)",[^}]*\} (\S+)$',
    re.M,
)


class Accounts:
    """Service accounts with the rights of a worker, by a short name each."""

    def __init__(self, namespace: str, names: Sequence[str], folder: Path) -> None:
        config.load_kube_config()
        self._api = client.ApiClient()
        self._core = client.CoreV1Api(self._api)
        self._namespace = namespace
        self._folder = folder
        self._prefix = f"bench-{secrets.token_hex(3)}"
        self._undo = contextlib.ExitStack()
        self._names = names
        self._files: dict[str, Path] = {}

    def __enter__(self) -> Accounts:
        with contextlib.ExitStack() as undo:
            for name in self._names:
                self._make(name, undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def kubeconfig(self, name: str) -> str:
        """Return the file with which one is this account."""
        return str(self._files[name])

    def counted(self, name: str) -> Counter[str]:
        """Return how many requests of an account the API server has let through."""
        start = f"{self._prefix}-{name}-"
        found = dict(_COUNTED.findall(self._metrics()))
        return Counter({verb: int(found.get(start + verb, 0)) for verb in VERBS})

    def _metrics(self) -> str:
        answer = self._api.call_api(
            "/metrics", "GET", auth_settings=["BearerToken"], _preload_content=False
        )
        return str(answer.data.decode())

    # --- how they are made

    def _make(self, name: str, undo: contextlib.ExitStack) -> None:
        account, namespace = f"{self._prefix}-{name}", self._namespace
        metadata = {"name": account}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        self._core.create_namespaced_service_account(
            namespace, {"metadata": metadata, "automountServiceAccountToken": False}
        )
        undo.callback(self._core.delete_namespaced_service_account, account, namespace)
        rights = client.RbacAuthorizationV1Api(self._api)
        rights.create_namespaced_role_binding(
            namespace,
            {
                "metadata": metadata,
                "subjects": [subject],
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": ROLE,
                },
            },
        )
        undo.callback(rights.delete_namespaced_role_binding, account, namespace)
        flows = client.FlowcontrolApiserverV1Api(self._api)
        for verb in VERBS:
            flows.create_flow_schema(self._flow_schema(account, verb))
            undo.callback(flows.delete_flow_schema, f"{account}-{verb}")
        self._files[name] = kubeconfig_of(account, namespace, self._folder, TOKEN_S)
        wait_until(lambda: self._is_counted(name), f"{account} is counted")

    def _flow_schema(self, account: str, verb: str) -> dict[str, Any]:
        subject = {"name": account, "namespace": self._namespace}
        rule = {
            "verbs": [verb],
            "apiGroups": ["*"],
            "resources": ["*"],
            "clusterScope": True,
            "namespaces": ["*"],
        }
        return {
            "metadata": {"name": f"{account}-{verb}"},
            "spec": {
                "matchingPrecedence": PRECEDENCE,
                "priorityLevelConfiguration": {"name": "workload-low"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [
                    {
                        "subjects": [
                            {"kind": "ServiceAccount", "serviceAccount": subject}
                        ],
                        "resourceRules": [rule],
                    }
                ],
            },
        }

    def _is_counted(self, name: str) -> bool:
        """Ask for a pod as this account; a FlowSchema takes a moment to be in force."""
        api = config.new_client_from_config(self.kubeconfig(name))
        with api, contextlib.suppress(ApiException):
            client.CoreV1Api(api).read_namespaced_pod("none", self._namespace)
        return self.counted(name)["get"] > 0


@contextlib.contextmanager
def accounts(namespace: str, *names: str) -> Iterator[Accounts]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-accounts-") as folder,
        Accounts(namespace, names, Path(folder)) as made,
    ):
        yield made
