"""The fork server's life, and what it hands out, seen by workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.sandbox import forkserver
from executions.sandbox.base import (
    Finished,
    SandboxGone,
    SandboxUnavailable,
    Session,
)
from executions.sandbox.jails import Config, JailBackend
from executions.tests.sandbox.conftest import Runner, finish, spec

pytestmark = pytest.mark.jail

Make = Callable[..., JailBackend]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes workers of one installation."""
    made: list[JailBackend] = []

    def one(folder: str = "state", **config: Any) -> JailBackend:
        settings = {"warm": {"": 1}, "linger_s": 5.0, **config}
        made.append(JailBackend(tmp_path / folder, Config(**settings)))
        return made[-1]

    yield one
    for backend in made:
        backend.close()


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def children(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.add(int(stat.parent.name))
    return found


def depth(pid: int) -> int:
    """In how many pid namespaces a process is; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return len(status.partition("NSpid:")[2].partition("\n")[0].split())


def zygotes(server: int) -> set[int]:
    """Its children that are no jails: they are in no namespace of their own."""
    return {pid for pid in children(server) if depth(pid) == depth(server)}


def jails(server: int) -> set[int]:
    return {pid for pid in children(server) if depth(pid) > depth(server)}


def cgroups_of(state: Path) -> list[Path]:
    notes = state.glob(f"*/{forkserver.CGROUPS_NAME}")
    return [Path(path) for note in notes for path in note.read_text().splitlines()]


def outcome_of(backend: JailBackend, code: str, **fields: Any) -> bytes:
    outcome, _ = finish(backend.start(spec(code, **fields)))
    return outcome.cases[0].stdout.head


def test_workers_with_the_same_settings_share_a_server(make: Make) -> None:
    one, other = make(), make()
    assert one.status()["pid"] == other.status()["pid"]
    assert one.scope == other.scope


def test_workers_with_other_settings_get_another_server(make: Make) -> None:
    one, other = make(), make(max_jails=3)
    assert one.status()["pid"] != other.status()["pid"]
    assert one.scope == other.scope


def test_installations_differ_in_scope(make: Make) -> None:
    assert make("here").scope != make("there").scope


def test_many_threads_start_one_server(make: Make, tmp_path: Path) -> None:
    backends = [make() for _ in range(4)]
    pids = set()
    threads = [
        threading.Thread(target=lambda b=b: pids.add(b.status()["pid"]))
        for b in backends
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(pids) == 1


def test_server_ends_with_its_last_worker_and_leaves_nothing(
    make: Make, tmp_path: Path
) -> None:
    one, other = make(), make()
    assert outcome_of(one, "print(1)") == b"1\n"
    pid = other.status()["pid"]
    folders = cgroups_of(tmp_path / "state")
    assert folders
    assert all(folder.is_dir() for folder in folders)
    one.close()
    assert other.status()["pid"] == pid
    inside = children(pid)

    other.close()

    wait_until(lambda: not is_alive(pid), "the server ended")
    assert not [process for process in inside if is_alive(process)]
    assert not [folder for folder in folders if folder.exists()]
    left = {path.name for path in (tmp_path / "state").iterdir()}
    assert left == {"scope", "start.lock"}


def test_run_survives_its_worker_and_is_attached(make: Make, tmp_path: Path) -> None:
    ours = make()
    pid = ours.status()["pid"]
    code = (
        "import sys, time; sys.path[:0] = sys.argv[1:3]\n"
        "from executions.tests.sandbox.conftest import spec\n"
        "from executions.sandbox.jails import Config, JailBackend\n"
        "b = JailBackend(sys.argv[2], Config(warm={'': 1}, linger_s=5.0))\n"
        "b.start(spec('import time; print(1, flush=True); time.sleep(1); print(2)',"
        " key='survivor'))\n"
        "print('started', flush=True); time.sleep(60)"
    )
    root = str(Path(__file__).parents[3])
    worker = subprocess.Popen(
        [sys.executable, "-c", code, root, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"started\n"
    worker.kill()
    worker.wait()

    outcome, _ = finish(ours.attach("survivor"))

    assert outcome.cases[0].stdout.head == b"1\n2\n"
    assert ours.status()["pid"] == pid


def test_server_outlives_a_killed_worker_for_a_while(
    make: Make, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from executions.sandbox.jails import Config, JailBackend\n"
        "b = JailBackend(sys.argv[2], Config(warm={'': 1}, linger_s=2.0))\n"
        "print(b.status()['pid'], flush=True)\n"
        "import os; os.kill(os.getpid(), 9)"
    )
    root = str(Path(__file__).parents[3])
    printed = subprocess.run(
        [sys.executable, "-c", code, root, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        check=False,
    ).stdout
    pid = int(printed)
    time.sleep(0.5)
    assert is_alive(pid)
    wait_until(lambda: not is_alive(pid), "the server ended")
    assert not cgroups_of(tmp_path / "state")


def test_jails_die_with_a_killed_server_and_the_next_clears_up(
    make: Make, tmp_path: Path
) -> None:
    backend = make()
    session = backend.start(spec("import time; time.sleep(60)", key="doomed"))
    pid = backend.status()["pid"]
    wait_until(lambda: backend.status()["warm"][""] == 1, "a warm jail")
    inside = jails(pid)
    old = [
        folder
        for path in cgroups_of(tmp_path / "state")
        for folder in path.iterdir()
        if folder.is_dir()
    ]
    assert len(inside) == 2
    os.kill(pid, signal.SIGKILL)

    with pytest.raises(SandboxGone):
        list(session.events())
    wait_until(lambda: not any(map(is_alive, inside)), "the jails ended")
    with pytest.raises(SandboxGone):
        backend.attach("doomed")
    assert backend.status()["pid"] != pid
    assert outcome_of(backend, "print(1)") == b"1\n"
    # Names come again, but of what the old ones held nothing is left.
    backend.close()
    wait_until(lambda: not cgroups_of(tmp_path / "state"), "the server ended")
    assert not [folder for folder in old if folder.exists()]


def test_attach_to_an_unknown_key_keeps_it_from_starting(make: Make) -> None:
    backend = make()
    with pytest.raises(SandboxGone):
        backend.attach("late")
    with pytest.raises(SandboxUnavailable):
        backend.start(spec("print(1)", key="late"))


def test_key_is_good_for_one_start(make: Make) -> None:
    backend = make()
    assert outcome_of(backend, "print(1)", key="once") == b"1\n"
    with pytest.raises(SandboxUnavailable):
        backend.start(spec("print(1)", key="once"))


def test_attach_before_the_run_was_sent_ends_the_jail(make: Make) -> None:
    backend = make()
    wish = {
        "op": "take",
        "key": "paused",
        "stages": [{"count": 1, "memory_bytes": 1 << 28, "max_processes": 8}],
        "scratch_bytes": 1 << 20,
        "wall_s": 1,
    }
    backend._ask(wish, timeout_s=5)
    with pytest.raises(SandboxGone):
        list(backend.attach("paused").events())
    wait_until(lambda: backend.status()["running"] == 0, "the jail ended")
    with pytest.raises(SandboxGone):
        backend.attach("paused")


def test_held_run_is_discarded_with_its_outcome(make: Make) -> None:
    backend = make()
    session = backend.start(spec("print(1)", key="forgotten"))
    assert isinstance(list(session.events())[-1], Finished)
    session.detach()
    assert backend.held() == ["forgotten"]
    backend.discard("forgotten")
    wait_until(lambda: not backend.held(), "the jail ended")
    with pytest.raises(SandboxGone):
        backend.attach("forgotten")


def test_runs_wait_when_there_are_as_many_jails_as_may_be(make: Make) -> None:
    backend = make(max_jails=2)
    results: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(
                outcome_of(backend, "import time; time.sleep(0.1); print(1)")
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, backend.status()["jails"])
        time.sleep(0.01)
    assert results == [b"1\n"] * 8
    assert most == 2


def test_plain_run_takes_the_last_warm_interpreter(
    make: Make, jail_backend: JailBackend
) -> None:
    prestarts = dict(jail_backend._config.prestarts)
    backend = make()
    backend._config = Config(
        warm={"python": 1}, prestarts=prestarts, max_jails=1, linger_s=5.0
    )
    backend._name = forkserver.server_name(backend._config)
    wait_until(lambda: backend.status()["warm"].get("python") == 1, "it is warm")
    assert outcome_of(backend, "print(2)", argv=("python3", "-I", "main.py")) == b"2\n"


def test_server_refuses_to_run_without_limits(make: Make) -> None:
    backend = make(cgroup="/nowhere")
    (problem,) = backend.problems()
    assert problem.startswith("limits cannot be enforced: /nowhere is no cgroup")
    with pytest.raises(SandboxUnavailable, match="limits cannot be enforced"):
        backend.start(spec("print(1)"))


def test_outcome_names_limits_that_the_operator_gave_up(make: Make) -> None:
    backend = make(cgroup="/nowhere", allow_unenforced=True)
    outcome, _ = finish(backend.start(spec("print(1)")))
    assert outcome.unenforced == forkserver.UNENFORCED_WITHOUT_CGROUPS
    assert outcome.cases[0].measured_by == "rusage"


def test_processes_are_limited_without_cgroups(make: Make) -> None:
    backend = make(cgroup="/nowhere", allow_unenforced=True)
    code = (
        "import os, time\n"
        "for number in range(20):\n"
        "    try: os.fork() or time.sleep(9)\n"
        "    except OSError: print(number); break"
    )
    outcome, _ = finish(backend.start(spec(code, limits={"max_processes": 10})))
    assert 0 < int(outcome.cases[0].stdout.head) < 10


def test_jail_that_is_killed_makes_its_run_gone(make: Make) -> None:
    backend = make(warm={})
    session = backend.start(spec("import time; time.sleep(60)"))
    (agent,) = jails(backend.status()["pid"])
    os.kill(agent, signal.SIGKILL)
    with pytest.raises(SandboxGone):
        list(session.events())


def test_jail_that_cannot_be_reached_now_is_not_taken_for_gone(make: Make) -> None:
    backend = make(warm={})
    session = backend.start(spec("input(); print(1)", key="busy", interactive=True))
    (agent,) = jails(backend.status()["pid"])
    os.kill(agent, signal.SIGSTOP)
    kept = []
    with pytest.raises(SandboxUnavailable, match="cannot be reached now"):
        for _ in range(10_000):  # until no more of them fit
            kept.append(backend.attach("busy"))
    os.kill(agent, signal.SIGCONT)
    for follower in kept:
        follower.detach()
    session = attached_in_time(backend, "busy")
    session.send_stdin(b"\n")
    outcome, _ = finish(session)
    assert outcome.cases[0].stdout.head == b"1\n"


def attached_in_time(backend: JailBackend, key: str) -> Session:
    """Attach once the agent has looked at all who came before."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return backend.attach(key)
        except SandboxUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_zygote_is_replaced(make: Make, number: signal.Signals) -> None:
    backend = make(warm={})
    session = backend.start(spec("input(); print(1)", key="earlier", interactive=True))
    (zygote,) = zygotes(backend.status()["pid"])
    os.kill(zygote, number)
    assert outcome_of(backend, "print(2)") == b"2\n"
    assert zygotes(backend.status()["pid"]).isdisjoint({zygote})
    session.send_stdin(b"\n")
    outcome, _ = finish(session)
    assert outcome.cases[0].stdout.head == b"1\n"


@pytest.mark.parametrize(
    "message",
    [b"", b"x", b"[]", b"{}", b'{"op": "take"}', b'{"op": "what"}', b"\xff" * 100],
)
def test_server_survives_nonsense(make: Make, message: bytes) -> None:
    backend = make()
    pid = backend.status()["pid"]
    connection = backend._connection()
    connection._socket.send(message or b"\0")
    connection._socket.recv(1000)
    connection.close()
    assert backend.status()["pid"] == pid


def test_long_state_folder_works(make: Make) -> None:
    backend = make("long" * 40)
    assert outcome_of(backend, "print(1)") == b"1\n"


# Of container engines, which may be at work on the same machine.
FOREIGN_MOUNTS = ("/kubelet/", "/containerd/", "/docker/", "/netns/", "/test-cluster/")


def mounts(pid: int | str) -> list[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return [line for line in lines if not any(f in line for f in FOREIGN_MOUNTS)]


def test_hundreds_of_runs_leave_nothing(make: Make, tmp_path: Path) -> None:
    backend = make(warm={"": 2})
    runner = Runner(backend)
    state = tmp_path / "state"

    def held() -> tuple[int, ...]:
        wait_until(lambda: backend.status()["warm"][""] == 2, "two are warm")
        pid = backend.status()["pid"]
        time.sleep(0.3)
        (folder,) = (f for f in state.iterdir() if f.is_dir())
        return (
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            len(children(pid)),
            len(list(folder.iterdir())),
            len(mounts("self")),
            len(mounts(pid)),
            *(len([f for f in c.iterdir() if f.is_dir()]) for c in cgroups_of(state)),
        )

    def run(count: int, *command: str) -> None:
        threads = [
            threading.Thread(
                target=lambda: [runner.case(litter, argv=command) for _ in range(count)]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)

    litter = "import os; os.fork(); os.mkdir('/tmp/a'); os.symlink('/etc', 'x')"
    run(5, "python3", "main.py")
    before = held()

    # Fewer where a system call takes a hundred times as long, as in a guest.
    run(int(os.environ.get("LEAK_RUNS", "480")) // 4, "/bin/echo", "hi")
    run(5, "python3", "main.py")

    assert held() == before
