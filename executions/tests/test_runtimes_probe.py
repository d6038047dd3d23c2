"""A toolchain counts where a sandbox sees it, and its version is asked for once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executions import runtimes
from executions.runtimes import probe
from executions.runtimes.base import Runtime

FROB = Runtime(
    key="frob",
    label="Frob",
    source_name="main.frob",
    compile=("frobc", "{entry}"),
    run=("./a.out",),
    version=("frobc", "--version"),
    packages=("frob", "libfrob-dev"),
    selftest="42",
)


class Machine:
    """A folder with toolchains, of which a sandbox sees what is in `seen`."""

    def __init__(self, root: Path) -> None:
        self.seen, self.home = root / "usr" / "bin", root / "home"
        self.seen.mkdir(parents=True)
        self.home.mkdir()
        self.starts = root / "starts"

    def install(self, name: str, says: str, *, folder: Path | None = None) -> Path:
        path = (folder or self.seen) / name
        script = f"#!/bin/sh\necho >> {self.starts}\n{says}\n"
        path.write_text(script)
        path.chmod(0o755)
        return path

    @property
    def count_of_starts(self) -> int:
        return len(self.starts.read_text()) if self.starts.exists() else 0


@pytest.fixture(autouse=True)
def no_file() -> Iterator[None]:
    """Other processes' knowledge stays out, and what is made up here stays in."""
    before = probe._file
    probe.keep_in(None)
    yield
    probe.keep_in(before)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(probe, "SEARCH_PATH", f"{made.seen}:/usr/bin:/bin")
    monkeypatch.setattr(probe, "SYSTEM_FOLDERS", (str(made.seen), "/usr", "/bin"))
    return made


def test_probe_names_the_packages_of_what_is_missing(machine: Machine) -> None:
    found = probe.probe(FROB)
    assert not found.is_available
    assert found.problem == ("frobc is not installed; Debian package: frob libfrob-dev")
    assert not probe.is_available(FROB)


def test_probe_finds_the_version(machine: Machine) -> None:
    machine.install("frobc", "echo The Frob Compiler; echo frob version 9.12.1-rc2")
    assert probe.probe(FROB) == probe.Probe(FROB, version="9.12.1")
    assert probe.is_available(FROB)


def test_probe_shows_the_line_of_a_version_without_a_dot(machine: Machine) -> None:
    machine.install("frobc", "echo >&2 Frob release 9")
    assert probe.probe(FROB).version == "Frob release 9"


def test_probe_does_not_count_what_only_a_home_folder_has(machine: Machine) -> None:
    real = machine.install("frobc", "echo 1.0", folder=machine.home)
    (machine.seen / "frobc").symlink_to(real)
    assert not probe.is_available(FROB)


def test_probe_does_not_count_what_cannot_be_executed(machine: Machine) -> None:
    machine.install("frobc", "echo 1.0").chmod(0o644)
    assert not probe.is_available(FROB)


def test_probe_tells_of_a_toolchain_that_is_broken(machine: Machine) -> None:
    machine.install("frobc", "echo cannot load libfrob.so >&2; exit 127")
    assert probe.probe(FROB).problem == (
        "frobc --version exited with 127: cannot load libfrob.so"
    )


def test_probe_asks_once_until_the_toolchain_changes(machine: Machine) -> None:
    frob = replace(FROB, key="frob-once")
    machine.install("frobc", "echo 1.0")
    assert [probe.probe(frob).version for _ in range(3)] == ["1.0"] * 3
    assert machine.count_of_starts == 1
    os.utime(machine.install("frobc", "echo 2.0"), (1, 1))
    assert probe.probe(frob).version == "2.0"
    assert machine.count_of_starts == 2


def test_probe_notices_a_toolchain_that_went_away(machine: Machine) -> None:
    path = machine.install("frobc", "echo 1.0")
    assert probe.probe(FROB).is_available
    path.unlink()
    assert not probe.probe(FROB).is_available


def test_probe_gives_the_toolchain_no_environment_of_ours(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "42.4242")
    machine.install("frobc", 'echo "version 1.${SECRET_KEY:-0}"')
    assert probe.probe(FROB).version == "1.0"


def test_probe_all_keeps_the_order(machine: Machine) -> None:
    missing = replace(FROB, key="none", run=("nonesuch",))
    machine.install("frobc", "sleep 0.2; echo 3.1")
    found = probe.probe_all([FROB, missing, runtimes.get("bash")])
    assert [each.runtime.key for each in found] == ["frob", "none", "bash"]
    assert [each.is_available for each in found] == [True, False, True]


def test_probe_ignores_what_the_compiler_will_make(machine: Machine) -> None:
    assert probe.executables(FROB) == ["frobc"]


def another_process() -> None:
    """Forget what this process knows, as a new one would start."""
    probe._remembered.clear()


def test_probe_tells_other_processes_through_a_file(
    machine: Machine, tmp_path: Path
) -> None:
    probe.keep_in(tmp_path / "versions.json")
    machine.install("frobc", "echo 1.0")
    assert probe.probe(FROB).version == "1.0"
    another_process()
    assert probe.probe(FROB).version == "1.0"
    assert machine.count_of_starts == 1


def test_probe_does_not_believe_a_file_about_another_toolchain(
    machine: Machine, tmp_path: Path
) -> None:
    probe.keep_in(tmp_path / "versions.json")
    machine.install("frobc", "echo 1.0")
    probe.probe(FROB)
    another_process()
    os.utime(machine.install("frobc", "echo 2.0"), (1, 1))
    assert probe.probe(FROB).version == "2.0"


@pytest.mark.parametrize("text", ["", "[1]", '{"frob": 1}', '{"frob": {"of": 1}}'])
def test_probe_survives_a_broken_file(
    machine: Machine, tmp_path: Path, text: str
) -> None:
    (tmp_path / "versions.json").write_text(text)
    probe.keep_in(tmp_path / "versions.json")
    another_process()
    machine.install("frobc", "echo 1.0")
    assert probe.probe(FROB).version == "1.0"


def test_probe_works_where_no_file_can_be_written(machine: Machine) -> None:
    probe.keep_in(Path("/proc/versions.json"))
    another_process()
    machine.install("frobc", "echo 1.0")
    assert probe.probe(FROB).version == "1.0"
