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
