"""The scheduler as a real process, without the database that it needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from testing.servers import Command


@pytest.mark.slow
def test_scheduler_says_once_that_the_database_is_away(tmp_path: Path) -> None:
    env = {
        "ENV_FILE": os.devnull,
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
        "DATABASE_CONNECT_TIMEOUT_S": "1",
        "SECRET_KEY": "only-for-tests",
    }
    with Command(
        tmp_path,
        "scheduler",
        ["manage.py", "run_scheduler"],
        env,
        ready=lambda it: b"the database is away" in it.log_path.read_bytes(),
    ) as scheduler:
        time.sleep(4)  # for it to try once more
        assert scheduler.is_running
        assert scheduler.log_path.read_bytes().count(b"is away") == 1
