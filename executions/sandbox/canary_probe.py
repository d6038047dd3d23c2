"""Runs in a pod as any program does, and says what it can reach and use there.

A script for the Python of a sandbox image: arguments are a JSON object of addresses and
sizes, the output is one line of JSON: for each check what was found, and whether that
is well. Its last act is to use more memory than it may have, which it does not survive.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from typing import Any

CONNECT_S = 1.0
DNS_PORT = 53
MIB = 1024 * 1024
# What a cloud's machines ask who they are; see the documentation of AWS, GCP and Azure
# (169.254.169.254), of Azure's agent and of Alibaba.
METADATA = (
    ("169.254.169.254", 80),
    ("fd00:ec2::254", 80),
    ("168.63.129.16", 80),
    ("100.100.100.200", 80),
)
NODE_PORTS = (22, 10250, 10255, 10256)
TOKENS = ("/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io")
READ_ONLY = ("/", "/etc", "/usr/bin", "/usr/lib", "/opt", "/opt/agent", "/var", "/run")
# A question for the address of kubernetes.default.svc.cluster.local (RFC 1035, 4.1).
DNS_QUESTION = (
    b"\x2a\x2a\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
)

Address = tuple[str, int]
Found = tuple[bool, str]


def reached(addresses: Iterable[Address], *, refusals: bool = False) -> list[str]:
    """Return which of these let us connect, or, if that counts, refused to."""
    found = []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for host, port in addresses:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with suppress(OSError):
                tried = stack.enter_context(socket.socket(family))
                tried.setblocking(False)
                told = tried.connect_ex((host, port))
                if told == errno.EINPROGRESS:
                    selector.register(tried, selectors.EVENT_WRITE, (host, port))
                elif told == 0:
                    found.append(f"{host}:{port}")
        until = time.monotonic() + CONNECT_S
        while selector.get_map() and (left_s := until - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                selector.unregister(key.fileobj)
                sock = key.fileobj
                assert isinstance(sock, socket.socket)  # noqa: S101
                told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if told == 0 or (refusals and told == errno.ECONNREFUSED):
                    found.append("{}:{}".format(*key.data))
    return found


def asked(servers: Iterable[str]) -> list[str]:
    """Return which of these name servers answered a question, over UDP."""
    found = []
    for host in servers:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(CONNECT_S)
            sock.connect((host, DNS_PORT))
            sock.send(DNS_QUESTION)
            if sock.recv(512):
                found.append(f"{host}:{DNS_PORT}/udp")
    return found


def _status() -> dict[str, str]:
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def api_server(_: dict[str, Any]) -> Found:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    if not host:
        return False, "its address is not known here, so nothing was tried"
    return _none(reached([(host, port)]), f"{host}:{port}")


def cluster_dns(given: dict[str, Any]) -> Found:
    servers = [str(each) for each in _list(given, "dns")]
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if host:
        # Where installers put it: the tenth address of the services.
        servers.append(str(ip_address(int(ip_address(host)) & ~0xFF | 10)))
    if not servers:
        return False, "no name server is known here, so nothing was tried"
    answered = asked(servers) + reached((each, DNS_PORT) for each in servers)
    return _none(answered, ", ".join(servers))


def metadata(_: dict[str, Any]) -> Found:
    return _none(reached(METADATA), ", ".join(host for host, _ in METADATA))


def other_pods(given: dict[str, Any]) -> Found:
    pods = [(str(host), int(port)) for host, port in _list(given, "pods")]
    if not pods:
        return False, "no other pod was named, so nothing was tried"
    return _none(reached(pods), ", ".join(f"{host}:{port}" for host, port in pods))


def node(given: dict[str, Any]) -> Found:
    hosts = [str(each) for each in _list(given, "nodes")]
    tried = [(host, port) for host in hosts for port in NODE_PORTS]
    return _none(reached(tried, refusals=True), ", ".join(hosts))


def service_account_token(_: dict[str, Any]) -> Found:
    found = [path for path in TOKENS if os.path.lexists(path)]
    return not found, f"found {', '.join(found)}" if found else "none"


def root_user(_: dict[str, Any]) -> Found:
    ids = {*os.getresuid(), *os.getresgid(), *os.getgroups()}
    return 0 not in ids, f"ids {', '.join(map(str, sorted(ids)))}"


def capabilities(_: dict[str, Any]) -> Found:
    status = _status()
    names = [n for n in status if n.startswith("Cap") and int(status[n], 16)]
    if status.get("NoNewPrivs") != "1":
        names.append("new privileges may be gained")
    return not names, ", ".join(names) or "none"


def seccomp(_: dict[str, Any]) -> Found:
    mode = _status().get("Seccomp", "unknown")
    return mode == "2", f"mode {mode}"


def read_only_root(_: dict[str, Any]) -> Found:
    written = []
    for folder in READ_ONLY:
        path = os.path.join(folder, ".canary")
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            os.unlink(path)
            written.append(folder)
    return not written, f"wrote to {', '.join(written)}" if written else "read-only"


def process_limit(given: dict[str, Any]) -> Found:
    most = int(str(given["processes"]))
    children: list[int] = []
    try:
        while len(children) <= most:
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
    except OSError as error:
        return True, f"{len(children)} more, then {error.strerror}"
    finally:
        for pid in children:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    return False, f"{len(children)} processes, and {most} are allowed"


def disk_limit(given: dict[str, Any]) -> Found:
    most = int(str(given["scratch_bytes"])) + 16 * MIB
    block, written = bytes(MIB), 0
    paths: list[str] = []
    try:
        while written <= most:
            paths.append(f"canary-{len(paths)}")
            with open(paths[-1], "wb", buffering=0) as file:
                for _ in range(16):
                    written += file.write(block)
    except OSError as error:
        return True, f"{written // MIB} MiB, then {error.strerror}"
    finally:
        for path in paths:
            with suppress(OSError):
                os.unlink(path)
    return False, f"{written // MIB} MiB were written"


Check = Callable[[dict[str, Any]], Found]
# At once, as most of their time is waiting for nothing.
NETWORK: tuple[Check, ...] = (api_server, cluster_dns, metadata, other_pods, node)
OWN: tuple[Check, ...] = (
    service_account_token,
    root_user,
    capabilities,
    seccomp,
    read_only_root,
    process_limit,
    disk_limit,
)


def _none(found: list[str], tried: str) -> Found:
    return (False, f"reached {', '.join(found)}") if found else (True, f"not {tried}")


def _list(given: dict[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    return value if isinstance(value, list) else []


def use_memory(most_bytes: int) -> None:
    """Take this much and hold it a while: whoever samples has time to see it."""
    held = []
    for _ in range(most_bytes // (4 * MIB)):
        held.append(bytearray(4 * MIB))
        held[-1][::4096] = b"x" * len(held[-1][::4096])
    time.sleep(3)


def told(check: Check, given: dict[str, Any]) -> Found:
    try:
        return check(given)
    except Exception as error:  # noqa: BLE001 - each is told, and the others go on
        return False, f"could not be checked: {error!r}"


def main() -> None:
    given = json.loads(sys.argv[1])
    with ThreadPoolExecutor(len(NETWORK)) as threads:
        results = {check: threads.submit(told, check, given) for check in NETWORK}
    found = {check.__name__: result.result() for check, result in results.items()}
    found |= {check.__name__: told(check, given) for check in OWN}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    use_memory(int(given["memory_bytes"]) + 64 * MIB)


if __name__ == "__main__":
    main()
