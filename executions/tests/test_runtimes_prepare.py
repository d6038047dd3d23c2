"""What is prepared appears whole, is readable by sandboxes and is made once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executions.runtimes import prepare
from executions.runtimes.base import Prepare, Runtime

COPY = Runtime(
    key="copy",
    label="Copy",
    source_name="main.txt",
    run=("cat", "{entry}"),
    version=("cat", "--version"),
    packages=("coreutils",),
    selftest="42",
    prepare=Prepare(
        argv=("cp", "made", "{folder}/cache"),
        files={"made": "of the first kind\n"},
    ),
)


@pytest.fixture(autouse=True)
def private_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_prepare_leaves_what_its_command_made(tmp_path: Path) -> None:
    assert not prepare.is_prepared(COPY, tmp_path / "base")
    prepare.prepare(COPY, tmp_path / "base")
    assert (tmp_path / "base/copy/cache").read_text() == "of the first kind\n"
    assert prepare.is_prepared(COPY, tmp_path / "base")


def test_prepare_makes_it_readable_for_everyone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    prepare.prepare(COPY, base)
    for path in (base, *base.rglob("[!.]*")):
        assert path.stat().st_mode & stat.S_IROTH, path


def test_prepare_does_nothing_twice(tmp_path: Path) -> None:
    prepare.prepare(COPY, tmp_path)
    before = (tmp_path / "copy").stat().st_ino
    prepare.prepare(COPY, tmp_path)
    assert (tmp_path / "copy").stat().st_ino == before


def test_prepare_makes_anew_what_another_declaration_made(tmp_path: Path) -> None:
    prepare.prepare(COPY, tmp_path)
    assert COPY.prepare
    second = replace(COPY, prepare=replace(COPY.prepare, files={"made": "second\n"}))
    assert not prepare.is_prepared(second, tmp_path)
    prepare.prepare(second, tmp_path)
    assert (tmp_path / "copy/cache").read_text() == "second\n"


def test_prepare_keeps_the_old_when_making_the_new_fails(tmp_path: Path) -> None:
    prepare.prepare(COPY, tmp_path)
    broken = replace(COPY, prepare=Prepare(argv=("cat", "nothing-here")))
    with pytest.raises(prepare.NotPrepared, match="No such file"):
        prepare.prepare(broken, tmp_path)
    assert (tmp_path / "copy/cache").read_text() == "of the first kind\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".copy.lock", "copy"]


def test_prepare_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".copy-x1y2z3").mkdir()
    (tmp_path / ".other-x1y2z3").mkdir()
    prepare.prepare(COPY, tmp_path)
    assert not (tmp_path / ".copy-x1y2z3").exists()
    assert (tmp_path / ".other-x1y2z3").exists()


def test_prepare_tells_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.main([]) == 2
    assert "usage" in capsys.readouterr().err
