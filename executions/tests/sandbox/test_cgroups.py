from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.sandbox import cgroups
from executions.sandbox.cgroups import Cgroups, CgroupsUnusable

pytestmark = pytest.mark.jail

MIB = 1 << 20


@pytest.fixture
def groups() -> Iterator[Cgroups]:
    name = f"{cgroups.PREFIX}test.{os.getpid()}"
    try:
        found = cgroups.find(name)
    except CgroupsUnusable as problem:
        pytest.fail(f"these tests need cgroups: {problem}")
    yield found
    found.remove_all()
    for path in found.paths:
        assert not Path(path).exists()


def run_inside(stage: cgroups.Stage, code: str) -> subprocess.Popen[bytes]:
    """Start a Python process inside a stage's cgroup."""
    enter = stage.open_files().enter
    into = f"import os; [os.write(fd, b'0') for fd in {enter!r}]\n"
    process = subprocess.Popen(
        [sys.executable, "-c", into + code], pass_fds=enter, stdout=subprocess.PIPE
    )
    for fd in enter:
        os.close(fd)
    return process


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def stage_of(groups: Cgroups, **limits: int) -> Iterator[cgroups.Stage]:
    stage = groups.create("t")
    stage.limit(**{"memory_bytes": 64 * MIB, "max_processes": 8, **limits})
    yield stage
    stage.close()
    assert groups.remove("t")


def test_mounts_lists_hybrid_hierarchies() -> None:
    text = (
        "24 1 0:21 / /proc rw - proc proc rw\n"
        "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup "
        "rw,cpu,cpuacct\n"
        "31 24 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = list(cgroups.mounts(text))

    assert [mount.version for mount in found] == [1, 1, 2]
    assert {"cpu", "cpuacct"} <= found[0].options
    assert found[1].root == "/docker/abc"


def test_memberships_tells_controllers_and_version_2() -> None:
    found = cgroups.memberships("4:cpu,cpuacct:/a:b\n3:memory:/\n0::/user.slice/x\n")
    assert found == {
        "cpu": "/a:b",
        "cpuacct": "/a:b",
        "memory": "/",
        "": "/user.slice/x",
    }


def test_stage_counts_processor_time_and_peak_memory(groups: Cgroups) -> None:
    with stage_of(groups) as stage:
        files = stage.open_files()
        code = (
            "import time; b = b'x' * (20 << 20); del b\n"
            "while time.process_time() < 0.2: pass"
        )
        before_s = children_cpu_s()
        assert run_inside(stage, code).wait(60) == 0
        children_s = children_cpu_s() - before_s
        used = cgroups.read_usage(groups.version, files.usage)
        for fd in (*files.enter, *files.usage):
            os.close(fd)

    # The child was outside for its first moments; two clocks round differently.
    assert 0.15 < used.cpu_ns / 1e9 < children_s * 1.1 + 0.05
    assert 20 * MIB < used.memory_peak_bytes < 40 * MIB
    assert used.memory_bytes < used.memory_peak_bytes
    assert (used.oom_kills, used.processes_refused) == (0, 0)


def test_stage_kills_what_takes_too_much_memory(groups: Cgroups) -> None:
    with stage_of(groups, memory_bytes=32 * MIB) as stage:
        files = stage.open_files()
        status = run_inside(stage, "b'x' * (64 << 20)").wait(20)
        used = cgroups.read_usage(groups.version, files.usage)
        for fd in (*files.enter, *files.usage):
            os.close(fd)

    assert status == -signal.SIGKILL
    assert used.oom_kills >= 1


def test_stage_refuses_one_process_too_many(groups: Cgroups) -> None:
    code = (
        "import os, time\n"
        "for number in range(1, 10):\n"
        "    try: os.fork() or (time.sleep(0.3), os._exit(0))\n"
        "    except OSError: break\n"
        "while number > 1: os.wait(); number -= 1; print(number)"
    )
    with stage_of(groups, max_processes=4) as stage:
        files = stage.open_files()
        printed = run_inside(stage, code).communicate(timeout=20)[0]
        used = cgroups.read_usage(groups.version, files.usage)
        for fd in (*files.enter, *files.usage):
            os.close(fd)

    assert printed.split() == [b"3", b"2", b"1"]
    assert used.processes_refused == 1


@pytest.mark.parametrize("memory_bytes", [16 * MIB, 512 * MIB])
def test_stage_limits_can_be_changed_either_way(
    groups: Cgroups, memory_bytes: int
) -> None:
    with stage_of(groups, memory_bytes=64 * MIB) as stage:
        stage.limit(memory_bytes, 3)
        name = "memory.limit_in_bytes" if groups.version == 1 else "memory.max"
        (hierarchy,) = (h for h in groups.hierarchies if "memory" in h.controllers)
        fd = os.open(f"t/{name}", os.O_RDONLY, dir_fd=hierarchy.fd)
        assert int(os.read(fd, 100)) == memory_bytes
        os.close(fd)


def test_remove_says_when_a_cgroup_is_busy(groups: Cgroups) -> None:
    stage = groups.create("busy")
    process = run_inside(stage, "import time; print(1, flush=True); time.sleep(30)")
    assert process.stdout is not None
    process.stdout.readline()

    assert not groups.remove("busy")
    process.kill()
    process.wait()
    stage.close()
    assert groups.remove("busy")
    assert groups.remove("busy")  # gone already


def test_server_takes_along_what_it_lost_sight_of(groups: Cgroups) -> None:
    groups.create("lost").close()

    groups.remove_all()

    assert not any(Path(path).exists() for path in groups.paths)


def test_left_overs_of_a_killed_server_are_removed_with_their_processes(
    groups: Cgroups,
) -> None:
    stage = groups.create("left")
    process = run_inside(stage, "import time; print(1, flush=True); time.sleep(30)")
    assert process.stdout is not None
    process.stdout.readline()
    stage.close()

    left = [Path(path, "left") for path in groups.paths]
    assert all(folder.is_dir() for folder in left)
    for folder in left:
        assert cgroups.remove_tree(str(folder))

    assert process.wait(10) == -signal.SIGKILL
    assert not any(folder.exists() for folder in left)


def test_usage_is_read_where_the_kernel_tells_no_peak(tmp_path: Path) -> None:
    texts = (
        "usage_usec 1500\nuser_usec 1000\n",
        "",  # memory.peak, before Linux 5.19
        "4096\n",
        "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n",
        "max 3\n",
    )
    fds = []
    for number, text in enumerate(texts):
        path = tmp_path / str(number)
        path.write_text(text)
        fds.append(os.open(path, os.O_RDONLY))

    used = cgroups.read_usage(2, fds)

    for fd in fds:
        os.close(fd)
    assert used == (1_500_000, 0, 4096, 1, 3)


def tree(root: Path, controllers: str, **subtree: str) -> cgroups.Mount:
    """Make what a version 2 hierarchy looks like to somebody who reads it."""
    for name in ("", *subtree):
        folder = root / name
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text(controllers)
        (folder / "cgroup.subtree_control").write_text(subtree.get(name, ""))
        (folder / "cgroup.procs").write_text("")
    return cgroups.Mount(str(root), "/", 2, frozenset())


def test_missing_delegation_is_explained(tmp_path: Path) -> None:
    mount = tree(tmp_path, "cpu pids")
    with pytest.raises(
        CgroupsUnusable, match=r"memory .* not delegated .* Delegate=yes"
    ):
        cgroups.find_version_2("x", [mount], {"": "/"}, str(tmp_path))


def test_read_only_cgroups_are_explained(tmp_path: Path) -> None:
    # What a container sees by default: all controllers, and no way to use them.
    mount = tree(tmp_path / "cgroup", "cpu memory pids")
    code = (
        "import os\n"
        "from executions.sandbox import cgroups, linux\n"
        "uid, gid = os.getuid(), os.getgid()\n"
        "linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)\n"
        "for name, text in (('setgroups', 'deny'), ('uid_map', f'0 {uid} 1'),"
        " ('gid_map', f'0 {gid} 1')):\n"
        "    open(f'/proc/self/{name}', 'w').write(text)\n"
        f"linux.bind_tree({mount.point!r}, {mount.point!r}, linux.MS_RDONLY)\n"
        f"mount = cgroups.Mount({mount.point!r}, '/', 2, frozenset())\n"
        "try: cgroups.find_version_2('x', [mount], {'': '/'}, mount.point)\n"
        "except cgroups.CgroupsUnusable as problem: print(problem)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
    assert "read-only: a container needs" in printed


def test_version_2_without_controllers_defers_to_version_1(tmp_path: Path) -> None:
    mount = tree(tmp_path, "")
    other = cgroups.Mount("/sys/fs/cgroup/memory", "/", 1, frozenset({"memory"}))
    with pytest.raises(CgroupsUnusable, match=r"^$"):
        cgroups.find_version_2("x", [mount, other], {"": "/"}, str(tmp_path))


@pytest.mark.parametrize(("running", "shares"), [(0, 1024), (3, 3072), (999, 262144)])
def test_programs_weigh_as_much_as_tasks(
    groups: Cgroups, running: int, shares: int
) -> None:
    groups.weigh(running)
    if groups.version == 1:
        (path,) = (p for p in groups.paths if Path(p, "cpu.shares").exists())
        assert int(Path(path, "cpu.shares").read_text()) == shares
    else:
        weight = Path(groups.paths[0], "server", "cpu.weight").read_text()
        assert int(weight) == 1000
