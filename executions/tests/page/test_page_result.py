"""The result as the page draws it: verdict, reason, streams, times, limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from executions import waiting
from executions.models import Execution
from executions.presentation import SHOWN_BYTES
from executions.tests.page.conftest import MakeExecution, stage, stored_file


def text_of(page: Client, execution: Execution) -> str:
    return page.get(f"/executions/{execution.pk}/").content.decode()


@pytest.mark.parametrize(
    ("verdict", "label"),
    [
        ("ok", "OK"),
        ("compile_error", "Compile error"),
        ("time_limit", "Time limit"),
        ("system_error", "System error"),
    ],
)
def test_result_shows_the_verdict(
    page: Client, make_execution: MakeExecution, verdict: str, label: str
) -> None:
    text = text_of(page, make_execution(verdict=verdict))
    assert f'<span class="verdict verdict-{verdict}">{label}</span>' in text


def test_result_says_why_in_plain_words(
    page: Client, make_execution: MakeExecution
) -> None:
    reason = "stopped after 2.0 s of CPU time (limit 2.0 s)"
    text = text_of(page, make_execution(verdict="time_limit", reason=reason))
    assert "Stopped after 2.0 s of CPU time (limit 2.0 s)" in text


def test_result_shows_what_was_used_and_allowed(
    page: Client, make_execution: MakeExecution
) -> None:
    run = stage(exit_code=3, cpu_time_ms=2040, memory_peak_bytes=256 * 1024**2)
    text = text_of(page, make_execution(result={"compile": None, "run": run}))
    for part in (
        "<dd>3</dd>",
        "<dd>2.04 s</dd>",
        "<dd>256 MiB</dd>",
        '<td class="number">5 s</td>',
    ):
        assert part in text


def test_result_shows_both_streams_and_the_compilers(
    page: Client, make_execution: MakeExecution
) -> None:
    text = text_of(
        page,
        make_execution(
            stdout=b"out text",
            stderr=b"err text",
            compile_stderr=b"a warning",
            result={"compile": stage(), "run": stage()},
        ),
    )
    assert "\nout text</pre>" in text
    assert "\nerr text</pre>" in text
    assert "Compiler stderr" in text
    assert "\na warning</pre>" in text


def test_result_says_how_much_was_dropped(
    page: Client, make_execution: MakeExecution
) -> None:
    run = stage(stdout={"head_bytes": 4, "dropped_bytes": 12345})
    text = text_of(
        page,
        make_execution(stdout=b"headtail", result={"compile": None, "run": run}),
    )
    before, after = text.split("12345 bytes dropped")
    assert before.endswith('head<span class="cut" role="note">')
    assert "</span>tail</pre>" in after


def test_result_draws_a_part_of_huge_output(
    page: Client, make_execution: MakeExecution
) -> None:
    output = b"a" * SHOWN_BYTES + b"b" * 1000
    text = text_of(page, make_execution(stdout=output))
    assert "1000 bytes not shown here: download to see them" in text
    assert len(text) < SHOWN_BYTES + 50_000


def test_result_leaves_a_trace_of_every_byte(
    page: Client, make_execution: MakeExecution
) -> None:
    text = text_of(
        page, make_execution(stdout=b"\0\0\0\xff\x1b[31m \xe2\x80\xaex\xc2\x85\t")
    )
    assert '<span class="control">NUL \N{MULTIPLICATION SIGN}3</span>�' in text
    assert '<span class="control">ESC</span>[31m �x�\t</pre>' in text


def test_result_downloads_every_byte(
    page: Client, make_execution: MakeExecution
) -> None:
    output = bytes(range(256)) * 2
    execution = make_execution(stderr=output)
    answer = page.get(f"/executions/{execution.pk}/output/stderr/")
    assert answer.content == output
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="stderr.txt"'
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["files", "lease_owner", "owner", "stdin"])
def test_result_downloads_nothing_but_streams(
    page: Client, make_execution: MakeExecution, name: str
) -> None:
    answer = page.get(f"/executions/{make_execution().pk}/output/{name}/")
    assert answer.status_code == 404


def test_result_names_what_was_not_enforced(
    page: Client, make_execution: MakeExecution
) -> None:
    result = {"compile": None, "run": stage(), "unenforced": ["memory_bytes"]}
    text = text_of(page, make_execution(result=result))
    assert "Not enforced on this machine: memory_bytes." in text


def test_result_shows_the_program(page: Client, make_execution: MakeExecution) -> None:
    text = text_of(
        page,
        make_execution(
            files=[stored_file("b.bin", b"\xff"), stored_file("main.py", b"print(7)")],
            stdin=b"the input",
            args=["a b", "c"],
            env={"NAME": "value"},
        ),
    )
    assert text.index("main.py") < text.index("b.bin")
    for part in (
        "print(7)</pre>",
        "Not text.",
        "the input</pre>",
        ">a b</code>",
        ">NAME=value</code>",
    ):
        assert part in text


@pytest.mark.parametrize("status", ["queued", "starting", "running"])
def test_result_offers_to_cancel_what_is_not_final(
    page: Client, make_execution: MakeExecution, status: str
) -> None:
    execution = make_execution(status=status)
    text = text_of(page, execution)
    assert 'data-final="false"' in text
    assert f'action="/executions/{execution.pk}/cancel/"' in text
    assert 'http-equiv="refresh"' in text


def test_result_of_a_final_one_neither_waits_nor_reloads(
    page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution()
    answer = page.get(f"/executions/{execution.pk}/?wait=30")
    text = answer.content.decode()
    assert 'data-final="true"' in text
    assert "refresh" not in text
    assert "/cancel/" not in text


@pytest.mark.parametrize("wait", ["0", "-5", "nan", "x", "0.05", "1e-9"])
def test_result_waits_within_bounds(
    page: Client, make_execution: MakeExecution, wait: str
) -> None:
    execution = make_execution(status="running")
    answer = page.get(f"/executions/{execution.pk}/result/?wait={wait}")
    assert answer.status_code == 200
    assert b'data-final="false"' in answer.content


@pytest.fixture
def no_places(settings: Any) -> Iterator[None]:
    settings.WEB_MAX_WAITERS = 0
    waiting._places.cache_clear()
    yield
    waiting._places.cache_clear()


def test_result_does_not_wait_without_a_place(
    page: Client, make_execution: MakeExecution, no_places: None
) -> None:
    execution = make_execution(status="running")
    address = f"/executions/{execution.pk}/"
    assert b'data-final="false"' in page.get(f"{address}?wait=30").content
    assert page.get(f"{address}result/?wait=30").status_code == 503
    assert page.get(f"{address}result/").status_code == 200


def test_cancel_ends_a_queued_one_at_once(
    page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution(status="queued")
    answer = page.post(f"/executions/{execution.pk}/cancel/", follow=True)
    assert b"Cancelled" in answer.content
    execution.refresh_from_db()
    assert execution.status == "cancelled"


def test_cancel_leaves_a_final_one_as_it_is(
    page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution()
    assert page.post(f"/executions/{execution.pk}/cancel/").status_code == 302
    execution.refresh_from_db()
    assert execution.status == "finished"


def test_again_runs_the_same_bytes(page: Client, make_execution: MakeExecution) -> None:
    fields: dict[str, Any] = {
        "files": [
            stored_file("main.py", b"x\r\n\0"),
            stored_file("d/data.bin", bytes(range(256))),
        ],
        "stdin": b"\r\n\xff\0",
        "args": ["a\nb", ""],
        "env": {"A": "x\ny"},
    }
    earlier = make_execution(**fields)
    answer = page.post(f"/executions/{earlier.pk}/again/")
    execution = Execution.objects.get(pk=UUID(answer["Location"].split("/")[2]))
    assert execution.pk != earlier.pk
    assert bytes(execution.stdin) == fields.pop("stdin")
    for name, value in fields.items():
        assert getattr(execution, name) == value
    assert execution.limits == earlier.limits


def test_again_says_when_it_is_not_possible(
    page: Client, make_execution: MakeExecution
) -> None:
    limits = {**make_execution().limits, "cpu_time_ms": 10**12}
    earlier = make_execution(limits=limits)
    answer = page.post(f"/executions/{earlier.pk}/again/", follow=True)
    text = answer.content.decode()
    assert "It cannot be run again as it is: cpu_time_ms may be at most" in text
    assert answer.redirect_chain[0][0] == f"/?from={earlier.pk}"


def test_pages_are_not_kept_by_caches(
    page: Client, make_execution: MakeExecution
) -> None:
    pk = make_execution().pk
    for address in (f"/executions/{pk}/", f"/executions/{pk}/result/", "/executions/"):
        assert "no-store" in page.get(address)["Cache-Control"]
    assert "private" in page.get("/")["Cache-Control"]
