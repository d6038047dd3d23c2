"""A language that is one new file is listed, accepted and run; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from executions import channel, rules, runtimes
from executions.models import Execution
from executions.sandbox.plain import PlainBackend
from executions.tests.api.conftest import Caller
from executions.worker import Worker

REVERSE = """
from executions.runtimes.base import Runtime

REVERSE = Runtime(
    key="reverse",
    label="Reverse",
    aliases=("backwards",),
    source_name="main.txt",
    run=("rev", "{entry}"),
    version=("rev", "--version"),
    packages=("bsdextrautils",),
    selftest="24",
)
"""


@pytest.fixture
def reverse(settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.SANDBOX_BACKEND = "plain"
    (tmp_path / "reverse.py").write_text(REVERSE)
    runtimes.__path__.append(str(tmp_path))
    runtimes.forget()
    yield
    runtimes.__path__.remove(str(tmp_path))
    runtimes.forget()
    rules._remembered.pop("reverse", None)


@pytest.mark.django_db(transaction=True)
def test_api_lists_and_runs_a_language_that_is_one_new_file(
    reverse: None, owner: Caller
) -> None:
    listed = {
        each["key"]: each for each in owner.get("/api/v1/runtimes").json()["results"]
    }
    assert listed["reverse"]["is_available"]
    assert listed["reverse"]["aliases"] == ["backwards"]
    assert listed["reverse"]["version"]

    answer = owner.submit(runtime="backwards", source="!dlrow olleh\n")
    assert answer.status_code == 201, answer.content
    execution = Execution.objects.get(pk=answer.json()["id"])
    worker = Worker(PlainBackend(), channel.current())
    assert worker.work_on(execution.pk)

    result = owner.get(answer["Location"]).json()
    assert (result["runtime"], result["verdict"]) == ("reverse", "ok")
    assert result["run"]["stdout"] == "hello world!\n"
