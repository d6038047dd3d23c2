"""The editor as a plain form: what is typed is what is run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from executions import runtimes
from executions.limits import MIB
from executions.models import Execution
from executions.tests.page.conftest import MakeExecution, stored_file


def run(page: Client, **fields: Any) -> Execution:
    """Send the form, and return the execution that its answer leads to."""
    answer = page.post("/", {"runtime": "python", "source": "print(1)", **fields})
    assert answer.status_code == 302, answer.content.decode()
    pk = answer["Location"].split("/")[2]
    return Execution.objects.get(pk=pk)


def source_of(execution: Execution) -> bytes:
    return base64.b64decode(execution.files[0]["content"])


def test_editor_submits_for_its_owner(page: Client) -> None:
    execution = run(page)
    assert execution.owner.username == "owner"
    assert execution.status == "queued"
    assert execution.entry_point == "main.py"


def test_editor_leads_to_a_page_that_waits(page: Client) -> None:
    answer = page.post("/", {"runtime": "python", "source": "print(1)"})
    assert answer["Location"].endswith("/?wait=2")


def test_editor_keeps_the_text_as_it_was_typed(page: Client) -> None:
    execution = run(page, source="\r\n  a\r\n\tb\r\n\r\n", stdin=" 1 \r\n\r\n")
    assert source_of(execution) == b"\n  a\n\tb\n\n"
    assert bytes(execution.stdin) == b" 1 \n\n"


@pytest.mark.slow
def test_editor_takes_the_largest_program_in_any_script(page: Client) -> None:
    source = "é" * (MIB // 2)
    form = urlencode({"runtime": "python", "source": source})
    answer = page.post("/", form, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 302
    assert source_of(Execution.objects.get()) == source.encode()


def test_editor_takes_arguments_and_variables_by_line(page: Client) -> None:
    execution = run(page, args="-v\r\na b\r\n", env="NAME=a=b\r\nEMPTY=\r\n")
    assert execution.args == ["-v", "a b"]
    assert execution.env == {"NAME": "a=b", "EMPTY": ""}


def test_editor_takes_limits_in_peoples_units(page: Client) -> None:
    execution = run(
        page, cpu_time_ms="1.5", memory_bytes="64", max_processes="", wall_time_ms="3"
    )
    assert execution.limits["cpu_time_ms"] == 1500
    assert execution.limits["memory_bytes"] == 64 * MIB
    assert execution.limits["wall_time_ms"] == 3000


def test_editor_takes_a_file_name(page: Client) -> None:
    assert run(page, entry_point="hello.py").entry_point == "hello.py"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("runtime", "klingon", "is not a runtime"),
        ("runtime", "", "required"),
        ("cpu_time_ms", "0", "must be at least 1"),
        ("cpu_time_ms", "-1", "must be at least 1"),
        ("cpu_time_ms", "NaN", "Enter a number"),
        ("cpu_time_ms", "999999", "may be at most"),
        ("memory_bytes", "lots", "Enter a number"),
        ("entry_point", "../etc/passwd", "must be a relative path"),
        ("entry_point", "a\\b", "backslashes"),
        ("env", "PATH=/tmp", "set by the platform"),
        ("args", "a\x00b", "Null characters"),
        ("source", "x" * (MIB + 1), "may be at most"),
    ],
)
def test_editor_names_what_it_refuses(
    page: Client, field: str, value: str, message: str
) -> None:
    answer = page.post("/", {"runtime": "python", "source": "kept text", field: value})
    assert answer.status_code == 400
    assert message in answer.content.decode()
    assert not Execution.objects.exists()


def test_editor_keeps_what_was_typed_when_it_refuses(page: Client) -> None:
    fields = {"source": "\r\nkept <text>", "stdin": "kept input", "cpu_time_ms": "0"}
    text = page.post("/", {"runtime": "ruby", **fields}).content.decode()
    assert "kept &lt;text&gt;</textarea>" in text
    assert "kept input</textarea>" in text
    assert '<option value="ruby" selected' in text


def test_editor_begins_with_a_sample(page: Client) -> None:
    assert "Hello, {line}!" in page.get("/").content.decode()
    assert "std::getline" in page.get("/?runtime=c%2B%2B").content.decode()


def test_editor_loads_an_earlier_program(
    page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution(
        files=[stored_file("a.py", b"\nprint('again')\n"), stored_file("d.txt", b"1")],
        entry_point="a.py",
        stdin=b"in\n",
        args=["x"],
        env={"A": "1"},
    )
    text = page.get(f"/?from={execution.pk}").content.decode()
    assert ">\n\nprint(&#x27;again&#x27;)\n</textarea>" in text
    assert ">\nin\n</textarea>" in text
    assert 'value="a.py"' in text
    assert 'value="d.txt" checked' in text


def test_editor_sends_other_files_along_unchanged(
    page: Client, make_execution: MakeExecution
) -> None:
    binary = stored_file("data.bin", bytes(range(256)))
    earlier = make_execution(
        files=[stored_file("main.py", b"old"), binary, stored_file("b.txt", b"2")]
    )
    execution = run(page, based_on=str(earlier.pk), source="new", keep=["data.bin"])
    assert execution.files == [stored_file("main.py", b"new"), binary]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "00000000-0000-0000-0000-000000000000"]
)
def test_editor_ignores_an_earlier_program_that_is_not_there(
    page: Client, text: str
) -> None:
    assert page.get("/", {"from": text}).status_code == 200
    assert run(page, based_on="").runtime == "python"


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"files": [stored_file("main.py", b"\xff")]}, "The program is not plain text"),
        ({"files": [stored_file("main.py", b"a\0")]}, "The program is not plain text"),
        ({"stdin": b"\x1b[31m"}, "The input is not plain text"),
        ({"args": ["a\nb"]}, "Arguments that are empty"),
        ({"args": [""]}, "Arguments that are empty"),
        ({"env": {"A": "1\n2"}}, "Variables of several lines"),
    ],
)
def test_editor_says_what_it_cannot_keep(
    page: Client, make_execution: MakeExecution, fields: dict[str, Any], warning: str
) -> None:
    text = page.get(f"/?from={make_execution(**fields).pk}").content.decode()
    assert warning in text


def test_editor_warns_of_nothing_without_need(
    page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution(stdin="grüße\t\r\n".encode(), args=["a b"])
    assert b"message-warning" not in page.get(f"/?from={execution.pk}").content


@pytest.fixture
def absent_language(tmp_path: Path) -> Iterator[None]:
    """A language whose toolchain is nowhere, added as anybody adds one: as a file."""
    (tmp_path / "absent.py").write_text(
        "from executions.runtimes.base import Runtime\n"
        "ABSENT = Runtime(key='absent', label='Absent 3', source_name='main.abs',\n"
        "    run=('no-such-program',), version=('no-such-program',),\n"
        "    packages=('absent-tools',), selftest='')\n"
    )
    runtimes.__path__.append(str(tmp_path))
    runtimes.forget()
    yield
    runtimes.__path__.remove(str(tmp_path))
    runtimes.forget()


def test_editor_greys_out_what_is_not_installed(
    page: Client, absent_language: None, settings: Any
) -> None:
    settings.SANDBOX_BACKEND = "plain"
    text = page.get("/").content.decode()
    assert "disabled>Absent 3: not installed (absent-tools)</option>" in text
    answer = page.post("/", {"runtime": "absent", "source": "1"})
    assert answer.status_code == 400
    assert b"is not installed here (Debian: absent-tools)" in answer.content
