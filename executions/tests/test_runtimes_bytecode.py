"""Bytecode is an extra: where it cannot be made, prestarts are as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from executions.runtimes import bytecode
from executions.runtimes.base import Prestart
from executions.runtimes.prestart_files import JAVASCRIPT, PYTHON


def test_bytecode_is_the_same_every_time() -> None:
    (first,) = bytecode.added_to([PYTHON])
    bytecode._compiled.cache_clear()

    assert bytecode.added_to([PYTHON]) == (first,)
    assert len(first.bytecode) == 1


def test_bytecode_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = bytecode.added_to([PYTHON])
    monkeypatch.setattr(bytecode, "subprocess", None)

    assert bytecode.added_to([PYTHON]) == made


@pytest.mark.parametrize(
    "prestart",
    [
        JAVASCRIPT,
        replace(PYTHON, argv=("no-such-interpreter", "main.py")),
        replace(PYTHON, files={"sitecustomize.py": "no Python"}),
    ],
)
def test_bytecode_that_cannot_be_made_is_left_out(
    prestart: Prestart,
) -> None:
    assert bytecode.added_to([prestart]) == (prestart,)
