"""Files with which somebody speaks to KUBECONFIG's cluster as a service account."""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from kubernetes import client, config

HOUR_S = 3600


def token_of(account: str, namespace: str, seconds: int = HOUR_S) -> str:
    """Return what a service account identifies itself with for so long."""
    config.load_kube_config()
    made = client.CoreV1Api().create_namespaced_service_account_token(
        account, namespace, {"spec": {"expirationSeconds": seconds}}
    )
    return str(made.status.token)


def kubeconfig_of(
    account: str, namespace: str, folder: Path, seconds: int = HOUR_S
) -> Path:
    """Write the file of a service account, good for so long, into this folder."""
    token = token_of(account, namespace, seconds)
    _, active = config.list_kube_config_contexts()
    known = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    known["users"] = [{"name": account, "user": {"token": token}}]
    cluster = active["context"]["cluster"]
    context = {"cluster": cluster, "user": account}
    known["contexts"] = [{"name": account, "context": context}]
    known["current-context"] = account
    path = folder / f"{account}.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(known))
    return path
