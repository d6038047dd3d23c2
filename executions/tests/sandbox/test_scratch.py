from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from executions.sandbox import scratch
from executions.sandbox.scratch import CannotKeep


def copy(root: Path, *, max_bytes: int = 10_000, max_entries: int = 100) -> list[str]:
    entries = scratch.copy(str(root), max_bytes=max_bytes, max_entries=max_entries)
    return [entry.path for entry in entries]


def test_files_are_written_with_their_folders(tmp_path: Path) -> None:
    scratch.write(str(tmp_path), [("a/b/c", b"1"), ("a/d", b""), ("-x", b"\xff")])

    assert (tmp_path / "a/b/c").read_bytes() == b"1"
    assert (tmp_path / "-x").read_bytes() == b"\xff"


@pytest.mark.parametrize("twice", [["a", "a"], ["a", "a/b"], ["a/b", "a"]])
def test_files_never_replace_each_other(tmp_path: Path, twice: list[str]) -> None:
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        scratch.write(str(tmp_path), [(path, b"x") for path in twice])


def test_copy_brings_back_content_modes_and_links(tmp_path: Path) -> None:
    root, again = tmp_path / "1", tmp_path / "2"
    root.mkdir()
    again.mkdir()
    scratch.write(str(root), [("bin/tool", b"\0" * 3_000), ("data", b"text")])
    (root / "bin/tool").chmod(0o751)
    (root / "link").symlink_to("bin/tool")
    (root / "empty").mkdir(mode=0o500)

    entries = scratch.copy(str(root), max_bytes=10_000, max_entries=10)
    scratch.restore(str(again), entries)

    assert (again / "bin/tool").read_bytes() == b"\0" * 3_000
    assert stat.S_IMODE((again / "bin/tool").stat().st_mode) == 0o751
    assert (again / "link").readlink() == Path("bin/tool")
    assert stat.S_IMODE((again / "empty").stat().st_mode) == 0o500
    assert copy(again) == copy(root)


def test_copy_follows_no_link_and_reads_no_special_file(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("marker")
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    os.mkfifo(root / "fifo")

    entries = scratch.copy(str(root), max_bytes=1_000, max_entries=10)

    assert {e.path: e.content for e in entries} == {
        "file": str(outside / "secret"),
        "folder": str(outside),
    }


def test_copy_is_bounded_in_bytes_and_entries(tmp_path: Path) -> None:
    scratch.write(str(tmp_path), [(f"f{n}", b"x" * 100) for n in range(10)])

    with pytest.raises(CannotKeep):
        copy(tmp_path, max_bytes=999)
    with pytest.raises(CannotKeep):
        copy(tmp_path, max_entries=9)
    assert len(copy(tmp_path, max_bytes=1_000, max_entries=10)) == 10


def test_copy_does_not_read_a_sparse_giant(tmp_path: Path) -> None:
    with (tmp_path / "giant").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(CannotKeep):
        copy(tmp_path)


@pytest.mark.slow
def test_empty_removes_trees_of_any_depth_and_mode(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (root / "a/b/c").mkdir(parents=True)
    (root / ".lifted-1").mkdir()
    (root / ".lifted-1/x").touch()
    (root / ".lifted-2").touch()
    (root / "out").symlink_to(outside)
    (root / "a/out").symlink_to(outside)
    os.mkfifo(root / "a/b/fifo")
    folder = os.open(root, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("deep", dir_fd=folder)
        inner = os.open("deep", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    (root / "a/b/c").chmod(0)
    (root / "a").chmod(0)
    root.chmod(0)

    scratch.empty(str(root))

    assert list(root.iterdir()) == []
    assert (outside / "kept").exists()
