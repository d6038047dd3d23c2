"""No text of a user's is ever run by a browser (S24), nor needs the CSP to stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from accounts.models import ApiKey, User
from executions.models import Execution
from executions.tests.page.conftest import (
    PASSWORD,
    MakeExecution,
    Visitor,
    stage,
    stored_file,
)

pytestmark = pytest.mark.page

# Each way out of where a text may stand: element, attribute, textarea, title, comment,
# a script's data, a style, and what templates or addresses would interpret.
PAYLOAD = "".join(
    (
        "<script>marker()</script>",
        "<img src=x onerror=marker()>",
        "'\"><svg onload=marker()>",
        "</textarea></pre></title></option></select><img src=x onerror=marker()>",
        "</script><script>marker()</script><!--<script>",
        "--><img src=x onerror=marker()>",
        "</style><iframe srcdoc='<script>parent.marker()</script>'></iframe>",
        '" autofocus onfocus=marker() x="',
        "{{ 7|add:7 }}{% debug %}<a href='javascript:marker()'>x</a>",
        "\\u003cimg src=x onerror=marker()\\u003e",
    )
)
BYTES = PAYLOAD.encode() + b"\xff\0" + "\N{RIGHT-TO-LEFT OVERRIDE}".encode()


@pytest.fixture(params=["with-csp", "without-csp"])
def victim(
    request: pytest.FixtureRequest, visit: Callable[..., Visitor], staff: User
) -> Iterator[Visitor]:
    """A member of staff whose browser reports each call of the payload's marker."""
    person = visit(bypass_csp=request.param == "without-csp")
    calls: list[str] = []
    person.tab.expose_function("marker", lambda: calls.append(person.tab.url))
    person.enter(staff)
    yield person
    person.tab.wait_for_timeout(200)
    assert calls == []
    # An escaped text causes no complaint; an injected one would, even when stopped.
    assert person.complaints == []


@pytest.fixture
def poisoned(staff: User, make_execution: MakeExecution) -> Execution:
    """An execution of the staff's own with the payload in every field there is."""
    name = PAYLOAD[:140]
    staff.username = staff.first_name = staff.last_name = name
    staff.save()
    ApiKey.objects.issue(staff, PAYLOAD[:90])
    return make_execution(
        owner=staff,
        entry_point=PAYLOAD[:250],
        files=[stored_file(PAYLOAD[:250], BYTES), stored_file(PAYLOAD[5:250], BYTES)],
        stdin=BYTES,
        args=[PAYLOAD],
        env={PAYLOAD: PAYLOAD},
        stdout=BYTES,
        stderr=BYTES,
        compile_stdout=BYTES,
        compile_stderr=BYTES,
        reason=PAYLOAD,
        verdict="runtime_error",
        result={
            "compile": stage(),
            "run": stage(stdout={"head_bytes": 9, "dropped_bytes": 7}),
            "unenforced": [PAYLOAD],
        },
        lease_owner=PAYLOAD[:100],
        sandbox=PAYLOAD[:200],
    )


def test_browser_runs_no_text_of_a_stored_execution(
    victim: Visitor, poisoned: Execution
) -> None:
    pk = poisoned.pk
    pages = [
        f"/executions/{pk}/",
        f"/executions/{pk}/result/",
        f"/?from={pk}",
        "/executions/",
        "/accounts/api-keys/",
        "/accounts/password/",
        "/admin/",
        "/admin/executions/execution/",
        f"/admin/executions/execution/?owner__id__exact={poisoned.owner_id}",
        f"/admin/executions/execution/{pk}/change/",
        f"/admin/executions/execution/{pk}/history/",
        "/admin/accounts/user/",
        f"/admin/accounts/user/{poisoned.owner_id}/change/",
        f"/admin/accounts/user/{poisoned.owner_id}/delete/",
        "/admin/accounts/apikey/",
        f"/admin/accounts/apikey/{ApiKey.objects.get().pk}/change/",
    ]
    for page in pages:
        victim.open(page)
        for summary in victim.tab.locator("details:not([open]) > summary").all():
            if summary.is_visible():
                summary.click()
        victim.tab.wait_for_timeout(50)
        assert victim.tab.title() or page.endswith("/result/")


def test_browser_runs_no_text_of_an_address(victim: Visitor) -> None:
    for page in (
        "/?from=",
        "/?runtime=",
        "/executions/?state=",
        "/executions/?since=",
        "/executions/?before=",
        "/admin/executions/execution/?q=",
    ):
        victim.open(page + quote(PAYLOAD))
    victim.open("/accounts/login/?next=javascript:marker()")
    victim.tab.context.clear_cookies()
    victim.open("/accounts/login/?next=" + quote(PAYLOAD))
    victim.open("/accounts/login/?next=javascript:marker()")
    victim.tab.fill("[name=username]", "staff")
    victim.tab.fill("[name=password]", PASSWORD)
    victim.tab.click("main button[type=submit]")
    victim.tab.wait_for_url(f"{victim.address}/")


def test_browser_runs_no_text_of_a_program_that_ran(victim: Visitor) -> None:
    source = (
        "import sys\n"
        f"text = {PAYLOAD!r}\n"
        "print(text)\n"
        "sys.stderr.write(text)\n"
        "raise SystemExit(3)\n"
    )
    victim.tab.fill("#id_stdin", PAYLOAD)
    text = victim.run(source)
    assert PAYLOAD in text
    victim.tab.click("#result-link")
    expect(victim.tab.locator(".output").first).to_contain_text("marker()")


def test_browser_runs_no_text_of_a_compiler(victim: Visitor) -> None:
    victim.tab.select_option("#id_runtime", "c")
    text = victim.run(f'#error {PAYLOAD}\n#include "{PAYLOAD[:60]}"\n')
    assert "Compile error" in text
    assert "<script>marker()</script>" in text


def test_browser_runs_no_text_of_a_refusal(victim: Visitor) -> None:
    victim.tab.click("text=Arguments, files, limits")
    victim.tab.fill("#id_env", f"{PAYLOAD}=1")
    victim.tab.fill("#id_entry_point", "../<img src=x onerror=marker()>")
    victim.write("1")
    victim.tab.click("#run")
    expect(victim.tab.locator("#form-errors")).to_contain_text("marker()")
    # The refusal's own status is the one thing that the console mentions.
    assert all("400" in text for text in victim.complaints)
    victim.complaints.clear()


def test_browser_shows_a_new_keys_name_as_text(victim: Visitor) -> None:
    victim.open("/accounts/api-keys/")
    victim.tab.fill("#id_name", PAYLOAD[:100])
    victim.tab.click("text=Create key")
    assert "<script>marker()</script>" in victim.tab.inner_text("#new-key-title")
    victim.tab.click("text=Revoke")
    expect(victim.tab.locator(".messages")).to_contain_text("marker()")
    assert PASSWORD not in victim.tab.content()


def test_browser_would_notice(visit: Callable[..., Visitor]) -> None:
    """The net above has no hole: an unescaped payload does call the marker."""
    person = visit(bypass_csp=True)
    calls: list[str] = []
    person.tab.expose_function("marker", lambda: calls.append("called"))
    person.open("/accounts/login/")
    person.tab.set_content(f"<p>{PAYLOAD}</p>")
    person.tab.wait_for_timeout(200)
    assert calls
