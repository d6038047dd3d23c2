"""The command that tells which languages work, on a terminal and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from executions import backends, runtimes

BROKEN = """
from executions.runtimes.base import Runtime

BROKEN = Runtime(
    key="broken",
    label="Broken",
    source_name="main.txt",
    run=("cat", "{entry}"),
    version=("cat", "--version"),
    packages=("coreutils",),
    selftest="forty-two",
)
MISSING = Runtime(
    key="missing",
    label="Missing",
    source_name="main.txt",
    run=("no-such-program", "{entry}"),
    version=("no-such-program", "--version"),
    packages=("no-such-package",),
    selftest="42",
)
"""

COPYING = """
from executions.runtimes.base import Prepare, Runtime

COPYING = Runtime(
    key="copying",
    label="Copying",
    source_name="main.txt",
    run=("cat", "{entry}"),
    version=("cat", "--version"),
    packages=("coreutils",),
    selftest="42",
    prepare=Prepare(argv=("cp", "made", "cache"), files={"made": "made once"}),
)
"""


@pytest.fixture(autouse=True)
def plain(settings: Settings, tmp_path: Path) -> Iterator[None]:
    """Programs run for real, unconfined; two more languages that cannot work."""
    settings.SANDBOX_BACKEND = "plain"
    (tmp_path / "broken.py").write_text(BROKEN)
    runtimes.__path__.append(str(tmp_path))
    runtimes.forget()
    backends.close()
    yield
    backends.close()
    runtimes.__path__.remove(str(tmp_path))
    runtimes.forget()


def test_selftest_prints_a_line_for_each_language(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("selftest_runtimes", "py", "sh")
    python, bash, summary = capsys.readouterr().out.splitlines()
    assert python.startswith("Python 3")
    assert " ok " in python
    assert " ok " in bash
    assert summary == "2 of 2 languages work"


def test_selftest_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("selftest_runtimes", "bash", "--json")
    (bash,) = json.loads(capsys.readouterr().out)
    assert bash["key"] == "bash"
    assert bash["verdict"] == "ok"
    assert bash["version"][0].isdigit()
    assert bash["compile_ms"] is None
    assert bash["run_ms"] >= 0


def test_selftest_fails_for_a_language_that_does_not_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(CommandError, match="1 of 2 languages work; failed: broken"):
        call_command("selftest_runtimes", "bash", "broken")
    assert "printed 'forty-two' instead of '42'" in capsys.readouterr().out


def test_selftest_does_not_fail_for_a_language_that_is_not_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("selftest_runtimes", "bash", "missing")
    line = capsys.readouterr().out.splitlines()[1]
    assert "unavailable" in line
    assert "no-such-package" in line


def test_selftest_fails_when_too_few_languages_work() -> None:
    with pytest.raises(CommandError, match="1 of 2 languages work, and 2 have to"):
        call_command("selftest_runtimes", "bash", "missing", "--require", "2")


def test_selftest_refuses_an_unknown_language() -> None:
    with pytest.raises(CommandError, match="no runtime 'klingon'"):
        call_command("selftest_runtimes", "klingon")


def test_selftest_can_fill_the_caches_alone(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "copying.py").write_text(COPYING)
    runtimes.forget()
    settings.SANDBOX_PREPARED_DIR = str(tmp_path / "prepared")
    call_command("selftest_runtimes", "copying", "--only-prepare")
    assert (tmp_path / "prepared/copying/cache").read_text() == "made once"
    output = capsys.readouterr()
    assert output.out == "the compilers have their caches\n"
    assert "preparing Copying" in output.err
