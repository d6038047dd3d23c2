"""The pages in a real browser, with programs in real jails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from executions.models import Execution
from executions.tests.page.conftest import MakeExecution, Visitor, stored_file

pytestmark = pytest.mark.page

GREETING = "import sys\nprint('Hello,', sys.stdin.read().strip(), sys.argv[1:])\n"


def test_browser_runs_a_program_by_keyboard(visitor: Visitor) -> None:
    visitor.write(GREETING)
    visitor.tab.fill("#id_stdin", "Ada")
    visitor.tab.focus("#id_source")
    visitor.tab.keyboard.press("Control+Enter")
    text = visitor.result()
    assert "OK" in text
    assert "Hello, Ada []" in text
    assert visitor.tab.inner_text("#announce").startswith("Finished: OK")
    assert visitor.complaints == []


def test_browser_sends_arguments_variables_and_limits(visitor: Visitor) -> None:
    visitor.tab.click("text=Arguments, files, limits")
    visitor.tab.fill("#id_args", "one\ntwo words\n")
    visitor.tab.fill("#id_env", "NAME=a=b")
    visitor.tab.fill("#id_memory_bytes", "100")
    visitor.tab.fill("#id_entry_point", "hello.py")
    source = "import os, sys\nprint(sys.argv, os.environ['NAME'])\n"
    text = visitor.run(source)
    assert "['hello.py', 'one', 'two words'] a=b" in text
    execution = Execution.objects.get()
    assert execution.limits["memory_bytes"] == 100 * 1024**2
    assert execution.files == [stored_file("hello.py", source.encode())]


def test_browser_says_why_a_program_was_stopped(visitor: Visitor) -> None:
    visitor.tab.click("text=Arguments, files, limits")
    visitor.tab.fill("#id_cpu_time_ms", "0.3")
    text = visitor.run("while True: pass\n")
    assert "Time limit" in text
    assert "of CPU time (limit 0.3 s)" in text


def test_browser_shows_what_the_compiler_says(visitor: Visitor) -> None:
    visitor.tab.select_option("#id_runtime", "c")
    text = visitor.run("int main(void) { return zero; }\n")
    assert "Compile error" in text
    assert "undeclared (first use in this function)" in text


def test_browser_cancels_a_running_program(visitor: Visitor) -> None:
    visitor.write("import time\nprint('begun', flush=True)\ntime.sleep(9)\n")
    visitor.tab.click("#run")
    visitor.tab.click("[data-cancel-form] button")
    text = visitor.result()
    assert "Cancelled" in text
    assert "begun" in text


def test_browser_keeps_the_program_and_its_result_on_reload(visitor: Visitor) -> None:
    visitor.run("print(6 * 7)\n")
    visitor.tab.reload()
    assert visitor.tab.input_value("#id_source") == "print(6 * 7)\n"
    assert "42" in visitor.tab.inner_text("[data-result][data-final=true]")


def test_browser_names_what_was_refused(visitor: Visitor) -> None:
    visitor.tab.click("text=Arguments, files, limits")
    visitor.tab.fill("#id_entry_point", "../up.py")
    visitor.write("print(1)")
    visitor.tab.click("#run")
    errors = visitor.tab.locator("#form-errors")
    expect(errors).to_contain_text("entry_point: must be a relative path")
    expect(errors).to_be_focused()
    assert visitor.tab.get_attribute("#id_entry_point", "aria-invalid") == "true"
    visitor.tab.fill("#id_entry_point", "")
    assert "1" in visitor.run("print(1)")
    expect(errors).to_be_hidden()


def test_browser_keeps_the_program_when_the_session_has_ended(
    visitor: Visitor,
) -> None:
    visitor.tab.context.clear_cookies()
    visitor.write("print('mine')")
    visitor.tab.click("#run")
    expect(visitor.tab.locator("#form-errors")).to_contain_text("not logged in")
    assert visitor.tab.input_value("#id_source") == "print('mine')"


def test_browser_sends_other_files_along(
    visitor: Visitor, make_execution: MakeExecution
) -> None:
    source = b"print(open('data.bin', 'rb').read())\n"
    files = [stored_file("main.py", source), stored_file("data.bin", b"\xff\0")]
    visitor.open(f"/?from={make_execution(files=files).pk}")
    text = visitor.run("print(open('data.bin', 'rb').read() * 2)\n")
    assert r"b'\xff\x00\xff\x00'" in text


def test_browser_follows_a_run_on_its_own_page(visitor: Visitor) -> None:
    visitor.write("import time\ntime.sleep(2)\nprint('late')\n")
    visitor.tab.click("#run")
    visitor.tab.wait_for_selector("[data-cancel-form]")
    visitor.tab.click("#result-link")
    visitor.tab.wait_for_selector("[data-result][data-final=false]")
    expect(visitor.tab.locator("[data-final=true] .output")).to_have_text("late\n")


def test_browser_runs_an_earlier_program_again(
    visitor: Visitor, make_execution: MakeExecution
) -> None:
    earlier = make_execution(files=[stored_file("main.py", b"print('again')")])
    visitor.open(f"/executions/{earlier.pk}/")
    visitor.tab.click("text=Run again")
    expect(visitor.tab.locator("[data-final=true] .output")).to_have_text("again\n")


def test_browser_needs_no_javascript(visit: Callable[..., Visitor]) -> None:
    person = visit(java_script_enabled=False)
    person.log_in("owner")
    person.tab.fill("#id_stdin", "Grace")
    person.write(GREETING)
    person.tab.click("#run")
    expect(person.tab.locator("[data-final=true] .output")).to_contain_text(
        "Hello, Grace []"
    )


def test_browser_without_javascript_waits_and_cancels(
    visit: Callable[..., Visitor], make_execution: MakeExecution
) -> None:
    person = visit(java_script_enabled=False)
    person.log_in("owner")
    person.tab.click("text=Arguments, files, limits")
    person.tab.fill("#id_wall_time_ms", "60")
    person.write("import time\ntime.sleep(60)\n")
    person.tab.click("#run")
    person.tab.click("[data-cancel-form] button")
    expect(person.tab.locator("[data-final=true]")).to_contain_text("Cancelled")


def test_browser_copies_a_new_key(visitor: Visitor) -> None:
    visitor.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.open("/accounts/api-keys/")
    visitor.tab.fill("#id_name", "laptop")
    visitor.tab.click("text=Create key")
    text = visitor.tab.input_value("#new-key")
    visitor.tab.click("#copy")
    expect(visitor.tab.locator("#copy")).to_have_text("Copied")
    assert visitor.tab.evaluate("navigator.clipboard.readText()") == text
