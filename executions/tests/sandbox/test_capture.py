from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from executions.sandbox.capture import Capture


def read_all(capture: Capture, size: int, *, is_final: bool = True) -> list[bytes]:
    """Read as a follower does; return the pieces, with None's place at a gap."""
    position, pieces = 0, [b""]
    while True:
        start, data = capture.read(position, size, is_final=is_final)
        if not data:
            return pieces
        if start > position:
            pieces.append(b"")
        pieces[-1] += data
        position = start + len(data)


def test_capture_keeps_a_stream_that_fits() -> None:
    capture = Capture(8)
    capture.write(b"1234567")
    capture.write(b"8")
    capture.finish()

    assert capture.kept() == {"total": 8, "head": 8, "tail": 0}
    assert read_all(capture, 3) == [b"12345678"]


def test_capture_keeps_three_quarters_and_the_last_one() -> None:
    capture = Capture(8)
    capture.write(b"0123456789abcdef")
    capture.finish()

    assert capture.kept() == {"total": 16, "head": 6, "tail": 2}
    assert read_all(capture, 100) == [b"012345", b"ef"]


def test_capture_shows_nothing_past_the_cut_while_the_program_runs() -> None:
    capture = Capture(8)
    capture.write(b"01234567")
    assert read_all(capture, 100, is_final=False) == [b"01234567"]

    capture.write(b"89")
    assert read_all(capture, 100, is_final=False) == [b"012345"]


@given(st.integers(1, 40), st.lists(st.binary(max_size=90), max_size=30))
def test_capture_counts_every_byte(limit: int, writes: list[bytes]) -> None:
    capture, everything = Capture(limit), b"".join(writes)
    for data in writes:
        capture.write(data)
    capture.finish()

    kept = capture.kept()
    head, tail = kept["head"], kept["tail"]

    assert kept["total"] == len(everything)
    assert head + tail == min(limit, len(everything))
    assert b"".join(read_all(capture, 7)) == everything[:head] + (
        everything[len(everything) - tail :] if tail else b""
    )


def test_capture_stays_small_whatever_is_written() -> None:
    capture = Capture(1000)
    for _ in range(10_000):
        capture.write(b"x" * 1000)
        held = len(capture._head) + len(capture._tail)
        assert held <= 1000 + 250 + 65 * 1024
