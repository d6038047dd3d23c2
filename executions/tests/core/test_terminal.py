"""Output on a terminal is text only; every byte is shown once; exit codes are told."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from executions.models import Execution, Status
from executions.terminal import Plain, Raw, Screen, exit_code, printable
from executions.verdicts import Verdict


def test_plain_leaves_no_control_characters() -> None:
    stream = BytesIO()
    sink = Plain(stream)
    sink.write(b"a\x1b[2J\x07\x00b\r\tc\n\xc2\x9b31m")
    assert stream.getvalue() == b"a[2Jb\tc\n31m"


def test_plain_decodes_across_writes() -> None:
    stream = BytesIO()
    sink = Plain(stream)
    for byte in "é€".encode():
        sink.write(bytes([byte]))
    sink.write(b"\xff!")
    assert stream.getvalue().decode() == "é€\ufffd!"


def test_printable_drops_marks_that_reorder_text() -> None:
    assert printable("a\u202eb\u2066c") == "abc"


def screen() -> tuple[Screen, BytesIO]:
    out = BytesIO()
    return Screen(Raw(out), Raw(BytesIO())), out


def row(stdout: bytes, head: int | None = None, dropped: int = 0) -> Execution:
    cut = {
        "head_bytes": len(stdout) if head is None else head,
        "dropped_bytes": dropped,
    }
    return Execution(stdout=stdout, result={"run": {"stdout": cut}})


def test_screen_shows_replayed_bytes_once() -> None:
    shown, out = screen()
    shown.show("stdout", 0, b"abc")
    shown.show("stdout", 0, b"abcde")
    shown.show("stdout", 5, b"f")
    shown.show_rest(row(b"abcdef"))
    assert out.getvalue() == b"abcdef"


@pytest.mark.parametrize("live", [b"", b"ab", b"abcd"])
def test_screen_shows_the_rest_of_the_row(live: bytes) -> None:
    shown, out = screen()
    shown.show("stdout", 0, live)
    shown.show_rest(row(b"abcdyz", head=4, dropped=20))
    assert out.getvalue() == b"abcd\n[20 bytes dropped]\nyz"


def test_screen_tells_how_much_is_missing_after_live_output() -> None:
    shown, out = screen()
    shown.show("stdout", 0, b"abcd" + b"x" * 6)
    shown.show_rest(row(b"abcdyz", head=4, dropped=20))
    assert out.getvalue() == b"abcdxxxxxx\n[14 bytes dropped]\nyz"


def test_screen_shows_nothing_twice_when_all_was_live() -> None:
    shown, out = screen()
    shown.show("stdout", 0, b"abcd" + b"x" * 20 + b"yz")
    shown.show_rest(row(b"abcdyz", head=4, dropped=20))
    assert out.getvalue() == b"abcd" + b"x" * 20 + b"yz"


@pytest.mark.parametrize(
    ("status", "verdict", "stage", "code"),
    [
        (Status.FINISHED, Verdict.OK, {"exit_code": 0}, 0),
        (Status.FINISHED, Verdict.RUNTIME_ERROR, {"exit_code": 7}, 7),
        (Status.FINISHED, Verdict.RUNTIME_ERROR, {"signal": 11}, 139),
        (Status.FINISHED, Verdict.TIME_LIMIT, {"signal": 9}, 124),
        (Status.FINISHED, Verdict.COMPILE_ERROR, None, 1),
        (Status.FINISHED, Verdict.SYSTEM_ERROR, None, 70),
        (Status.CANCELLED, None, {"exit_code": 0}, 130),
    ],
)
def test_exit_code_tells_how_it_ended(
    status: Status, verdict: Verdict | None, stage: Any, code: int
) -> None:
    execution = Execution(status=status, verdict=verdict, result={"run": stage})
    assert exit_code(execution) == code
