"""Programs in real pods: what they can do, and what becomes of them."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from executions.sandbox import manifests, pods
from executions.sandbox.base import (
    Case,
    End,
    Finished,
    NeverStarted,
    Outcome,
    OutputChunk,
    SandboxDetached,
    SandboxGone,
    SandboxUnavailable,
)
from executions.sandbox.kubernetes import KubernetesBackend, name_of
from executions.sandbox.manifests import DEFAULT_PROFILES, MIB
from executions.sandbox.session import AgentSession
from executions.sandbox.watch import Seen
from executions.tests.kubernetes.conftest import Make, calls_of, cluster_of, spec
from executions.tests.sandbox.conftest import finish
from testing.servers import wait_until

pytestmark = pytest.mark.cluster

SMALL, LARGE = DEFAULT_PROFILES


def run(backend: KubernetesBackend, source: str, **fields: Any) -> Outcome:
    return finish(backend.start(spec(source, **fields)))[0]


# --- what the API server says to our pods


@pytest.mark.parametrize("profile", DEFAULT_PROFILES)
def test_pod_is_accepted_where_restricted_is_enforced(
    core: client.CoreV1Api, namespace: str, profile: manifests.Profile
) -> None:
    pod = manifests.pod("exec-dry", profile, cluster_of(namespace), token="t")
    core.create_namespaced_pod(namespace, pod, dry_run="All")


@pytest.mark.parametrize(
    "change",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"securityContext": {"runAsNonRoot": True, "runAsUser": 0}},
    ],
    ids=["network", "pid", "root"],
)
def test_pod_that_is_broken_on_purpose_is_refused(
    core: client.CoreV1Api, namespace: str, change: dict[str, Any]
) -> None:
    pod = manifests.pod("exec-dry", SMALL, cluster_of(namespace), token="t")
    pod["spec"] |= change
    with pytest.raises(ApiException, match="PodSecurity"):
        core.create_namespaced_pod(namespace, pod, dry_run="All")


# --- programs


def test_program_runs_and_its_pod_goes(
    backend: KubernetesBackend, core: client.CoreV1Api, namespace: str
) -> None:
    run_spec = spec(
        "import sys; print(sys.stdin.read().upper())",
        cases=(Case(b"hi"),),
    )
    began = time.monotonic()
    outcome, _ = finish(backend.start(run_spec))
    took_s = time.monotonic() - began

    case = outcome.cases[0]
    assert (case.end, case.exit_code, case.stdout.head) == (End.EXITED, 0, b"HI\n")
    assert case.measured_by == "cgroup"
    assert outcome.unenforced == ()
    name = f"exec-{run_spec.key}"

    def is_gone() -> bool:
        pods = core.list_namespaced_pod(namespace).items
        return name not in [pod.metadata.name for pod in pods]

    wait_until(is_gone, "the pod gone")
    assert run_spec.key not in backend.held()
    calls = calls_of(backend)
    # A node that takes long is asked about, after each 5 s without any news.
    assert calls.pop(("get", "200"), 0) <= took_s // 5
    assert calls == {("create", "201"): 1, ("delete", "200"): 1}
    assert backend.api.calls.read()["watch", "200"] >= 1
    assert backend.starts.read() == {("small", "cold"): 1}


POSTURE = """
import json, os, pathlib, socket
def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError as error:
        return type(error).__name__
def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=0.5).close()
        return True
    except OSError:
        return False
status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
def writes(path):
    try:
        open(path, "w").close()
        return True
    except OSError:
        return False
print(json.dumps({
    "env": sorted(os.environ),
    "uid": os.getuid(),
    "status": {n: status[n].strip() for n in
               ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapBnd", "Groups")},
    "token": os.path.exists("/var/run/secrets"),
    "environment of PID 1": read("/proc/1/environ"),
    "fds": sorted(os.listdir("/proc/self/fd")),
    "writable": [p for p in ("/usr/x", "/etc/x", "/opt/agent/x", "/x") if writes(p)],
    "scratch": all(map(writes, ("/tmp/x", "/var/tmp/x", "/home/runner/x", "x"))),
    "cwd": os.getcwd(),
    "reached": [a for a in (("%s", %d), ("10.245.0.10", 53), ("169.254.169.254", 80),
                            ("1.1.1.1", 53)) if connects(*a)],
}))
"""


def test_program_is_nobody_and_reaches_nobody(
    backend: KubernetesBackend, core: client.CoreV1Api
) -> None:
    service = core.read_namespaced_service("kubernetes", "default").spec
    source = POSTURE % (service.cluster_ip, service.ports[0].port)
    run_spec = spec(source)
    outcome, _ = finish(backend.start(run_spec))

    case = outcome.cases[0]
    assert case.stderr.head == b""
    found = json.loads(case.stdout.head)
    uid = manifests.uid_of(f"exec-{run_spec.key}")
    assert set(found["env"]) <= {
        *("PATH", "HOME", "LANG", "TMPDIR", "PYTHONUNBUFFERED", "LC_CTYPE"),
        *dict(run_spec.run.env),
    }
    assert found["uid"] == uid
    assert found["status"] == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        **dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), "0" * 16),
        "Groups": str(uid),
    }
    assert not found["token"]
    assert found["environment of PID 1"] == "PermissionError"
    assert found["fds"][:3] == ["0", "1", "2"]
    assert len(found["fds"]) == 4  # the fourth reads the list
    assert found["writable"] == []
    assert found["scratch"]
    assert found["cwd"] == "/scratch/box"
    assert found["reached"] == []


def test_stranger_learns_nothing_from_the_agent(backend: KubernetesBackend) -> None:
    run_spec = spec("input()", interactive=True)
    session = backend.start(run_spec)
    seen = backend.watch.get(f"exec-{run_spec.key}")
    assert seen is not None
    address = (seen.pod["status"]["podIP"], manifests.AGENT_PORT)
    stranger = AgentSession.attach(
        socket.create_connection(address), run_spec.key, token="wrong"
    )
    with pytest.raises(SandboxUnavailable, match="wrong token"):
        list(stranger.events())
    session.close_stdin()
    assert finish(session)[0].cases[0].end is End.EXITED


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("while True: pass", End.CPU_TIME),
        ("import time; time.sleep(60)", End.WALL_TIME),
        ("b = bytearray(120 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\n"
         "import time; time.sleep(90)", End.MEMORY),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
         End.WALL_TIME),
        ("import sys\nwhile True: sys.stdout.write('x' * 100000)", End.OUTPUT),
    ],
    ids=["cpu", "wall", "memory", "forks", "output"],
)  # fmt: skip
def test_limits_below_those_of_the_pod(
    backend: KubernetesBackend, source: str, end: End
) -> None:
    limits = {
        "cpu_time_ms": 1_000,
        # Where it is no matter of time, a busy node shall not make it one.
        "wall_time_ms": 4_000 if end is End.WALL_TIME else 60_000,
        "memory_bytes": 64 * MIB,
        "max_processes": 16,
        "output_bytes": 1 << 16,
    }
    outcome = run(backend, source, limits=limits)
    found = outcome.cases[0].end
    # A fork bomb may also run out of its CPU time first.
    assert found is end or (end is End.WALL_TIME and found is End.CPU_TIME)


def test_case_finds_nothing_of_the_one_before(backend: KubernetesBackend) -> None:
    source = (
        "import os\n"
        "places = ('.', '/tmp', '/var/tmp', '/dev/shm', os.environ['HOME'])\n"
        "print(sorted({name for place in places for name in os.listdir(place)}))\n"
        "for place in places: open(f'{place}/left', 'w').close()\n"
    )
    outcome = run(backend, source, cases=(Case(), Case()))
    assert [case.stdout.head for case in outcome.cases] == [b"['main.py']\n"] * 2


def test_program_that_fills_the_pods_memory_is_told_so(
    backend: KubernetesBackend,
) -> None:
    source = "b = []\nwhile True: b.append(bytearray(1 << 24))"
    outcome = run(backend, source, limits={"memory_bytes": 256 * MIB})
    assert outcome.cases[0].end is End.MEMORY


def test_scratch_has_the_profiles_size(backend: KubernetesBackend) -> None:
    source = (
        "try:\n    f = open('big', 'wb')\n    while True: f.write(bytes(1 << 20))\n"
        "except OSError as error:\n    print(error.errno)\n"
    )
    limits = {"memory_bytes": 256 * MIB, "file_bytes": 1 << 30}
    outcome = run(backend, source, limits=limits)
    assert outcome.cases[0].stdout.head == b"28\n"


def test_scratch_below_the_profiles_is_told_to_be_larger(
    backend: KubernetesBackend,
) -> None:
    limits = {"scratch_bytes": SMALL.scratch_bytes - 1}
    assert run(backend, "print(1)", limits=limits).unenforced == ("scratch_bytes",)


def test_what_is_read_from_the_image_is_not_the_programs_memory(
    backend: KubernetesBackend,
) -> None:
    source = (
        "import os\n"
        "for folder, _, names in os.walk('/usr/lib'):\n"
        "    for name in names:\n"
        "        try: open(os.path.join(folder, name), 'rb').read()\n"
        "        except OSError: pass\n"
        "print('read')\n"
    )
    outcome = run(backend, source, limits={"memory_bytes": 64 * MIB})
    assert outcome.cases[0].stdout.head == b"read\n"
    assert outcome.cases[0].memory_peak_bytes < 64 * MIB


def test_connection_that_breaks_is_made_again(backend: KubernetesBackend) -> None:
    source = (
        "import time\n"
        "for n in range(20):\n    print(n, flush=True)\n    time.sleep(0.1)\n"
    )
    session: Any = backend.start(spec(source))
    chunks = []
    for event in session.events():
        if isinstance(event, OutputChunk):
            chunks.append(event.data)
            if len(chunks) in (3, 7):
                session._session._sock.shutdown(socket.SHUT_RDWR)
        if isinstance(event, Finished):
            outcome = event.outcome
    session.acknowledge()
    expected = b"".join(b"%d\n" % n for n in range(20))
    assert b"".join(chunks) == outcome.cases[0].stdout.head == expected


def test_cancel_kills_the_program(backend: KubernetesBackend) -> None:
    session = backend.start(spec("print('on', flush=True)\nwhile True: pass"))
    threading.Timer(0.5, session.cancel).start()
    outcome, _ = finish(session)
    assert outcome.cases[0].end is End.CANCELLED
    assert outcome.cases[0].stdout.head == b"on\n"


def test_live_input_and_output(backend: KubernetesBackend) -> None:
    source = "while line := input(): print(line[::-1], flush=True)"
    session = backend.start(spec(source, interactive=True))
    answers = []
    for event in session.events():
        if isinstance(event, Finished):
            break
        if isinstance(event, OutputChunk):
            answers.append(event.data)
        if len(answers) < 2:
            session.send_stdin(b"abc\n")
        else:
            session.send_stdin(b"\n")
    session.acknowledge()
    assert answers[:2] == [b"cba\n", b"cba\n"]


def test_end_of_live_input_reaches_the_program(backend: KubernetesBackend) -> None:
    source = "import sys; print('on', flush=True); print(sys.stdin.read()[::-1])"
    session = backend.start(spec(source, interactive=True))
    for event in session.events():
        if isinstance(event, OutputChunk) and event.data == b"on\n":
            # Live: the program waits for this, and could not have ended.
            session.send_stdin(b"ab")
            session.send_stdin(b"c")
            session.close_stdin()
        if isinstance(event, Finished):
            outcome = event.outcome
    session.acknowledge()
    assert outcome.cases[0].stdout.head == b"on\ncba\n"


def test_signal_reaches_the_program(backend: KubernetesBackend) -> None:
    source = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
print("on", flush=True)
time.sleep(60)
"""
    session = backend.start(spec(source, interactive=True))
    for event in session.events():
        if isinstance(event, OutputChunk):
            session.signal(signal.SIGINT)
        if isinstance(event, Finished):
            outcome = event.outcome
    session.acknowledge()
    assert (outcome.cases[0].end, outcome.cases[0].exit_code) == (End.EXITED, 5)


def test_container_runs_until_its_pod_is_deleted(backend: KubernetesBackend) -> None:
    """One that ends first costs the node and the API server an update more."""
    run_spec = spec("print(1)")
    ended_first = []

    def look(seen: Seen | None) -> bool | None:
        if seen is None:
            return None
        if pods.fate(seen.pod) is not None and not pods.is_ending(seen.pod):
            ended_first.append(seen.pod)
        return seen.is_gone or None

    finish(backend.start(run_spec))
    assert backend.watch.wait_for(name_of(run_spec.key), look, 60)
    assert ended_first == []


# --- who follows


def test_another_worker_attaches_and_hears_everything(make: Make) -> None:
    first, second = make(), make()
    source = (
        "import time\n"
        "for n in range(30):\n    print(n, flush=True)\n    time.sleep(0.1)"
    )
    run_spec = spec(source)
    session = first.start(run_spec)
    events = session.events()
    next(events)
    session.detach()
    with pytest.raises(SandboxDetached):
        list(events)

    outcome, _ = finish(second.attach(run_spec.key))
    assert outcome.cases[0].stdout.head == b"".join(b"%d\n" % n for n in range(30))


def test_start_again_with_the_same_key_is_the_same_run(make: Make) -> None:
    source = "import time, os; time.sleep(1); print(os.urandom(8).hex())"
    run_spec = spec(source)
    first = make().start(run_spec)
    second = make().start(run_spec)
    outcome, _ = finish(second)
    with pytest.raises(SandboxDetached):
        list(first.events())
    assert len(outcome.cases[0].stdout.head) == 17


def test_key_that_was_asked_for_in_vain_is_never_started(make: Make) -> None:
    run_spec = spec("print(1)")
    with pytest.raises(SandboxGone):
        make().attach(run_spec.key)
    with pytest.raises(SandboxUnavailable, match="must not be started"):
        make().start(run_spec)


def test_pod_that_has_not_started_when_its_owner_is_lost_never_will(
    make: Make,
) -> None:
    owner, other = make(node_selector={"nowhere": "true"}), make()
    run_spec = spec("print(1)")
    name = f"exec-{run_spec.key}"
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(owner.start, run_spec)
        wait_until(lambda: other.watch.get(name) is not None, "the pod there")
        with pytest.raises(NeverStarted):
            other.attach(run_spec.key)
        with pytest.raises(SandboxUnavailable):
            started.result(30)
    with pytest.raises(SandboxUnavailable, match="must not be started"):
        owner.start(run_spec)


def test_pod_that_is_deleted_makes_its_run_gone(
    backend: KubernetesBackend, core: client.CoreV1Api, namespace: str
) -> None:
    run_spec = spec("import time; time.sleep(60)")
    session = backend.start(run_spec)
    name = f"exec-{run_spec.key}"
    core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    with pytest.raises(SandboxGone):
        list(session.events())


# --- pods that do not start


def test_image_that_is_missing_is_named(make: Make) -> None:
    images = {"small": "nowhere.invalid/missing:1", "large": "x"}
    backend = make(images=images)
    with pytest.raises(SandboxUnavailable, match="image cannot be pulled"):
        backend.start(spec("print(1)"))


def test_no_room_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executions.sandbox.kubernetes._SCHEDULE_TIMEOUT_S", 3.0)
    backend = make(node_selector={"nowhere": "true"})
    with pytest.raises(SandboxUnavailable, match="no node has room"):
        backend.start(spec("print(1)"))


def test_missing_rights_are_named(make: Make) -> None:
    with pytest.raises(SandboxUnavailable, match="serviceaccount"):
        make(service_account="missing").start(spec("print(1)"))
