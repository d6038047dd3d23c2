"""Rows K2, K4, K5 and K8 of the security rows: what a program does to others.

K1 and K3 are in test_manifests.py and test_kubernetes.py.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kubernetes import client

from executions.sandbox import manifests
from executions.sandbox.base import Case, End, OutputChunk
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import AGENT_PORT, DEFAULT_PROFILES, MIB
from executions.tests.kubernetes.conftest import Make, cluster_of, spec
from executions.tests.sandbox.conftest import finish
from executions.tests.suites import bait, over_backend, runner
from executions.tests.suites.hostile_table import HOSTILE

pytestmark = pytest.mark.cluster

SMALL, _ = DEFAULT_PROFILES

# --- K2: the pod's sizes hold, and nobody else notices

FILL_DISK = """
import os, time
print("begin", flush=True)
total = 0
for place in (".", "/tmp", "/var/tmp", "/dev/shm", os.environ["HOME"]):
    for number in range(100):
        try:
            with open(f"{place}/fill{number}", "wb", buffering=0) as file:
                for _ in range(16):
                    total += file.write(bytes(1 << 20))
        except OSError:
            break
time.sleep(3)
print(total >> 20)
"""
FILL_MEMORY = """
import time
print("begin", flush=True)
held = []
with open("/dev/shm/fill", "wb", buffering=0) as file:
    for _ in range(48):
        file.write(bytes(1 << 20))
time.sleep(1)
while True:
    held.append(b"x" * (1 << 20))
"""
FILL_SOCKETS = """
import socket, time
print("begin", flush=True)
held = []
while True:
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    pair[0].bind(("127.0.0.1", 0))
    for _ in range(4):
        pair[1].sendto(bytes(50_000), pair[0].getsockname())
    held.append(pair)
    if len(held) == 500:
        time.sleep(60)
"""
FORK = """
import os
print("begin", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
# Ordinary work, of the kinds that the others are to spoil.
NEIGHBOUR = """
import os, subprocess, time
for number in range(12):
    subprocess.run(["true"], check=True)
    with open(f"{number}", "wb") as file:
        file.write(bytes(1 << 20))
    time.sleep(0.2)
children = [os.posix_spawnp("sleep", ["sleep", "1"], os.environ) for _ in range(20)]
print([os.waitpid(child, 0)[1] for child in children] == [0] * 20)
print(len(bytearray(100 << 20)) >> 20)
"""
HOSTILES = {
    "disk": (FILL_DISK, {"file_bytes": 64 * MIB}, {End.EXITED}),
    "tmpfs-memory": (FILL_MEMORY, {"memory_bytes": 96 * MIB}, {End.MEMORY}),
    "sockets": (FILL_SOCKETS, {"memory_bytes": 64 * MIB}, {End.MEMORY}),
    "forks": (
        FORK,
        {"max_processes": 64, "wall_time_ms": 6_000, "cpu_time_ms": 6_000},
        {End.WALL_TIME, End.CPU_TIME},
    ),
}


@pytest.mark.parametrize("kind", HOSTILES)
def test_what_a_program_uses_up_is_its_own(
    make: Make, core: client.CoreV1Api, kind: str
) -> None:
    source, limits, ends = HOSTILES[kind]
    session = make().start(spec(source, limits=limits))
    events = session.events()
    while not isinstance(next(events), OutputChunk):
        pass
    session.detach()
    key = session._key  # type: ignore[attr-defined]
    neighbour, _ = finish(make().start(spec(NEIGHBOUR)))
    assert neighbour.cases[0].stderr.head == b""
    assert neighbour.cases[0].stdout.head == b"True\n100\n"

    hostile, _ = finish(make().attach(key))
    assert hostile.cases[0].end in ends
    assert hostile.cases[0].stdout.head.startswith(b"begin\n")
    if kind == "disk":
        written = int(hostile.cases[0].stdout.head.split()[1]) * MIB
        assert SMALL.scratch_bytes / 2 < written <= SMALL.scratch_bytes
    for node in core.list_node().items:
        pressed = [c.type for c in node.status.conditions if c.status == "True"]
        assert pressed == ["Ready"]


def test_message_of_a_pod_cannot_be_written_by_its_program(
    backend: KubernetesBackend,
) -> None:
    source = (
        "for path in ('/opt/closed/message', '/dev/termination-log'):\n"
        "    try: open(path, 'w').write('forged')\n"
        "    except OSError as error: print(type(error).__name__)\n"
    )
    outcome, _ = finish(backend.start(spec(source)))
    assert outcome.cases[0].stdout.head == b"PermissionError\nPermissionError\n"


# --- K4: one pod for an attempt, however often it is asked for


def test_a_pod_that_is_asked_for_many_times_is_one(
    backend: KubernetesBackend, core: client.CoreV1Api, namespace: str
) -> None:
    key = secrets.token_hex(4)
    name = f"exec-{key}"
    cluster = cluster_of(namespace)
    pod = manifests.pod(name, SMALL, cluster, token=backend.token(name), key=key)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(backend.api.create, [pod] * 8))
    assert len({one["metadata"]["uid"] for one in made}) == 1
    labelled = core.list_namespaced_pod(
        namespace, label_selector=f"{manifests.KEY_LABEL}={key}"
    ).items
    assert [one.metadata.name for one in labelled] == [name]
    backend.end(name)


# --- K5: a pod reaches nobody

LISTEN = f"""
import socket
servers = [socket.create_server(("", port)) for port in (9000, {AGENT_PORT + 1})]
print("listens", flush=True)
input()
"""
PROBE = """
import json, socket, struct, sys
def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=0.5).close()
        return True
    except OSError:
        return False
def resolves(host):
    query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0)
    query += b"\\x0akubernetes\\x07default\\x03svc\\x07cluster\\x05local\\0\\0\\1\\0\\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.5)
        try:
            sock.sendto(query, (host, 53))
            return bool(sock.recv(500))
        except OSError:
            return False
own = socket.create_server(("", 9000))
given = json.loads(sys.stdin.read())
reached = [where for where in given["tcp"] if connects(*where)]
reached += [host for host in given["dns"] if resolves(host)]
print(json.dumps({"self": connects("127.0.0.1", 9000), "reached": reached}))
"""


def test_a_pod_reaches_no_other_and_no_service(
    make: Make, core: client.CoreV1Api
) -> None:
    backend = make()
    run_spec = spec(LISTEN, interactive=True)
    other = backend.start(run_spec)
    events = other.events()
    while not isinstance(next(events), OutputChunk):
        pass
    seen = backend.watch.get(f"exec-{run_spec.key}")
    assert seen is not None
    address = seen.pod["status"]["podIP"]
    services = [
        (service.spec.cluster_ip, port.port)
        for service in core.list_service_for_all_namespaces().items
        for port in service.spec.ports
        if service.spec.cluster_ip not in (None, "None")
    ]
    pods = [
        pod.status.pod_ip
        for pod in core.list_namespaced_pod("kube-system").items
        if pod.status.pod_ip
    ]
    targets = {
        "tcp": [
            *((address, port) for port in (9000, AGENT_PORT, AGENT_PORT + 1)),
            *services,
            *((host, port) for host in pods for port in (53, 443, 8080, 10250)),
            *(("169.254.169.254", 80), ("1.1.1.1", 53), ("8.8.8.8", 443)),
        ],
        "dns": [*{host for host, port in services if port == 53}, *pods, "8.8.8.8"],
    }
    stdin = json.dumps(targets).encode()
    outcome, _ = finish(
        backend.start(
            spec(PROBE, cases=(Case(stdin),), limits={"wall_time_ms": 60_000})
        )
    )
    other.close_stdin()
    assert outcome.cases[0].stderr.head == b""
    assert json.loads(outcome.cases[0].stdout.head) == {"self": True, "reached": []}
    assert services
    assert pods


# --- K8: what goes in and what comes out


def test_large_source_and_input_arrive_as_they_are(backend: KubernetesBackend) -> None:
    odd = "'\\\"$(touch /tmp/x)`id`; %s {} \\u2028 \u00fc"
    words = (odd + secrets.token_hex(50)) * (900_000 // (len(odd) + 100))
    source = (
        "import hashlib, os, sys\n"
        f"words = {words!r}\n"
        "print(hashlib.sha256(words.encode()).hexdigest())\n"
        "print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())\n"
        "print(os.path.exists('/tmp/x'), len(sys.argv[1]))\n"
    )
    assert len(source.encode()) > 900_000
    stdin = secrets.token_bytes(5_000_000)
    argument = "a b'\"$(id)" * 1000
    outcome, _ = finish(backend.start(spec(source, cases=(Case(stdin, (argument,)),))))
    printed = outcome.cases[0].stdout.head.decode().split("\n")
    assert printed == [
        hashlib.sha256(words.encode()).hexdigest(),
        hashlib.sha256(stdin).hexdigest(),
        f"False {len(argument)}",
        "",
    ]


FORGERS = ("S22-forged-text", "S22-success-with-noise", "S22-fail-from-child",
           "S22-exec-other", "S12-reach-agent")  # fmt: skip


@pytest.mark.parametrize("ident", FORGERS)
def test_verdict_cannot_be_forged(backend: KubernetesBackend, ident: str) -> None:
    (program,) = runner.selected(HOSTILE, only=(ident,))
    with bait.laid_out() as laid:
        (report,) = runner.Suite(over_backend.Direct(backend), laid).run([program])
    assert report.seen[0].verdict in program.verdicts
    allowed = [fault for fault in report.faults if "reaching port" not in fault]
    assert allowed == []


ATTACK = """
import os, socket, sys, threading
def attack():
    words = (b'\\0' * 8, b'\\xff' * 70_000, b'{"kind": "ack"}\\n', os.urandom(200))
    while True:
        for word in words:
            try:
                with socket.create_connection(("127.0.0.1", 8088), 1) as sock:
                    sock.sendall(word)
            except OSError:
                pass
for _ in range(8):
    threading.Thread(target=attack, daemon=True).start()
held = []
for number in range(200_000):
    print(number)
    if number % 20_000 == 0:
        held.append(socket.create_connection(("127.0.0.1", 8088)))
sys.stdout.flush()
os._exit(3)
"""


def test_program_that_attacks_the_agent_gets_its_own_outcome(
    backend: KubernetesBackend,
) -> None:
    limits: dict[str, Any] = {"output_bytes": 2 * MIB, "wall_time_ms": 60_000}
    outcome, _ = finish(backend.start(spec(ATTACK, limits=limits)))
    case = outcome.cases[0]
    assert (case.end, case.exit_code) == (End.EXITED, 3)
    assert case.stdout.head + case.stdout.tail == b"".join(
        b"%d\n" % number for number in range(200_000)
    )
