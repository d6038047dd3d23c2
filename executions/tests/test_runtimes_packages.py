"""One command tells which Debian packages bring the toolchains."""

from __future__ import annotations

import re

import pytest

from executions import runtimes
from executions.runtimes import packages


def test_packages_prints_those_of_every_runtime(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert packages.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    wanted = {name for runtime in runtimes.all() for name in runtime.packages}
    assert lines == sorted(wanted)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", line) for line in lines)


def test_packages_prints_those_of_the_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert packages.main(["c++", "py"]) == 0
    assert capsys.readouterr().out.splitlines() == ["g++", "python3"]


def test_packages_fails_for_an_unknown_runtime(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert packages.main(["cobol-2000"]) == 1
    assert "cobol-2000" in capsys.readouterr().err


def test_packages_that_apt_does_not_know_are_told() -> None:
    assert packages.unknown(["bash", "no-such-package"]) == {"no-such-package"}


def test_runtimes_without_a_package_are_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "unknown", lambda wanted: {"nim"} & set(wanted))
    assert packages.main(["--known"]) == 0
    told = capsys.readouterr()
    assert "nim" not in told.out.splitlines()
    assert "ghc" in told.out.splitlines()
    assert told.err == "no Nim: no package nim\n"
