"""The pages for everybody: names for screen readers, contrast, small screens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accounts.models import ApiKey, User
from executions.models import Execution
from executions.tests.page.conftest import MakeExecution, Visitor, stage

pytestmark = pytest.mark.page

NAMELESS = """() => [...document.querySelectorAll(
  'input:not([type=hidden]):not([hidden]), select, textarea, a, button, img'
)].filter((element) => element.checkVisibility() && !(
  element.labels?.length || element.getAttribute('aria-label') || element.title
  || element.textContent.trim() || element.hasAttribute('alt')
)).map((element) => element.outerHTML.slice(0, 120))"""

REPEATED_IDS = """() => {
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  return ids.filter((id, index) => ids.indexOf(id) !== index);
}"""

# WCAG 2: at least 4.5 between a text and what lies behind it.
FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d');
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = rgba(colour).slice(0, 3).map((part) => part / 255).map(
      (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return 'white';
  };
  const hasText = (element) => [...element.childNodes].some(
    (node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.body.querySelectorAll('*')].filter((element) =>
    hasText(element) && element.checkVisibility() && !element.matches(
      'script, option, :disabled, .visually-hidden')
  ).map((element) => {
    const lights = [getComputedStyle(element).color, behind(element)].map(light);
    const ratio = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05);
    return [ratio, element.outerHTML.slice(0, 120)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


@pytest.fixture
def pages(owner: User, make_execution: MakeExecution) -> list[str]:
    """One address of each kind, with something of every kind on it."""
    ApiKey.objects.issue(owner, "laptop")
    for verdict in ("ok", "runtime_error", "time_limit", "compile_error"):
        make_execution(verdict=verdict, reason="a reason")
    make_execution(status="cancelled")
    full: Execution = make_execution(
        verdict="output_limit",
        reason="a reason",
        stdin=b"in",
        args=["a"],
        env={"A": "1"},
        stdout=b"headtail\0",
        stderr=b"error",
        compile_stderr=b"warning",
        result={
            "compile": stage(),
            "run": stage(stdout={"head_bytes": 4, "dropped_bytes": 7}),
            "unenforced": ["memory_bytes"],
        },
    )
    return [
        "/accounts/login/",
        "/",
        f"/?from={full.pk}",
        f"/executions/{full.pk}/",
        "/executions/",
        "/accounts/api-keys/",
        "/accounts/password/",
        "/api/v1/docs",
        "/nothing",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(
    visit: Callable[..., Visitor], owner: User, pages: list[str], scheme: str
) -> None:
    person = visit(color_scheme=scheme)
    for page in pages:
        if page != "/accounts/login/":
            person.enter(owner)
        person.open(page)
        for script in (NAMELESS, REPEATED_IDS, FAINT):
            assert person.tab.evaluate(script) == [], page
        assert person.tab.locator("h1").count() == 1, page
        assert person.tab.get_attribute("html", "lang") == "en"


def test_pages_fit_a_telephone(
    visit: Callable[..., Visitor], owner: User, pages: list[str]
) -> None:
    person = visit(viewport={"width": 360, "height": 740})
    person.enter(owner)
    for page in pages:
        person.open(page)
        width = person.tab.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, page


def test_keyboard_skips_to_the_content(visitor: Visitor) -> None:
    visitor.tab.keyboard.press("Tab")
    link = visitor.tab.locator(".skip-link")
    expect(link).to_be_focused()
    expect(link).to_be_in_viewport()
    visitor.tab.keyboard.press("Enter")
    expect(visitor.tab.locator("#main")).to_be_focused()
