from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from executions.sandbox import locks


def test_lock_is_one_holders(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    handle = locks.take(path)
    assert handle is not None
    assert locks.take(path) is None
    os.close(handle)
    again = locks.take(path)
    assert again is not None
    os.close(again)


def test_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    handle = locks.take(path)
    assert handle is not None
    threading.Timer(0.1, os.close, (handle,)).start()
    after = locks.take(path, wait_s=20)
    assert after is not None
    os.close(after)


def test_removed_lock_is_made_anew(tmp_path: Path) -> None:
    # A holder that is done removes file and folder and ends while others wait.
    path = tmp_path / "folder" / "lock"
    handle = locks.take(path)
    assert handle is not None
    taken: list[int | None] = []
    waiting = threading.Thread(target=lambda: taken.append(locks.take(path, wait_s=20)))
    waiting.start()
    time.sleep(0.1)
    path.unlink()
    path.parent.rmdir()
    os.close(handle)
    waiting.join(20)
    assert taken[0] is not None
    assert path.exists()
    os.close(taken[0])


def test_many_holders_never_meet(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    inside, most = [0], [0]

    def hold() -> None:
        for _ in range(5):
            handle = locks.take(path, wait_s=30)
            assert handle is not None
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            inside[0] -= 1
            path.unlink()
            os.close(handle)

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1]


def test_blocks_of_uids_do_not_overlap(tmp_path: Path) -> None:
    one, other = (locks.UidBlock(1_000_000, tmp_path) for _ in range(2))
    assert abs(one.first - other.first) >= locks.UIDS_OF_A_BLOCK
    one.release()
    again = locks.UidBlock(1_000_000, tmp_path)
    assert again.first == one.first
    again.release()
    other.release()
    assert not list(tmp_path.iterdir())
