"""Typing in the editor: indentation, line numbers, samples, and a way out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from executions.tests.page.conftest import Visitor

pytestmark = pytest.mark.page


def type_in(visitor: Visitor, *keys: str) -> str:
    """Clear the editor, press the keys one by one, and return what is in it."""
    visitor.write("")
    visitor.tab.focus("#id_source")
    for key in keys:
        if len(key) > 1 and key[0].isupper():
            visitor.tab.keyboard.press(key)
        else:
            visitor.tab.keyboard.type(key)
    return visitor.tab.input_value("#id_source")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["Tab", "x"], "    x"),
        (["if a:", "Enter", "b"], "if a:\n    b"),
        (["  a", "Enter", "b"], "  a\n  b"),
        (["a", "Enter", "b", "Control+a", "Tab"], "    a\n    b"),
        (["a", "Enter", "b", "Control+a", "Tab", "Control+a", "Shift+Tab"], "a\nb"),
    ],
)
def test_editor_indents(visitor: Visitor, keys: list[str], text: str) -> None:
    assert type_in(visitor, *keys) == text


def test_editor_uses_tabs_where_the_language_does(visitor: Visitor) -> None:
    visitor.tab.select_option("#id_runtime", "go")
    assert type_in(visitor, "Tab", "x") == "\tx"


def test_editor_lets_the_keyboard_out(visitor: Visitor) -> None:
    assert type_in(visitor, "a", "Escape", "Tab") == "a"
    expect(visitor.tab.locator("#id_source")).not_to_be_focused()


def test_editor_numbers_lines(visitor: Visitor) -> None:
    visitor.write("a\nb\nc")
    assert visitor.tab.inner_text("#lines").split() == ["1", "2", "3"]
    visitor.write("\n" * 300)
    visitor.tab.evaluate("document.getElementById('id_source').scrollTop = 2000")
    numbers = visitor.tab.locator("#lines")
    top = visitor.tab.evaluate("document.getElementById('id_source').scrollTop")
    expect(numbers).to_have_js_property("scrollTop", top)


def test_editor_shows_a_sample_of_each_language(visitor: Visitor) -> None:
    visitor.tab.select_option("#id_runtime", "rust")
    assert "fn main()" in visitor.tab.input_value("#id_source")
    assert visitor.tab.get_attribute("#id_entry_point", "placeholder") == "main.rs"


def test_editor_never_replaces_ones_own_program(visitor: Visitor) -> None:
    visitor.write("mine")
    visitor.tab.select_option("#id_runtime", "rust")
    assert visitor.tab.input_value("#id_source") == "mine"
    visitor.tab.click("#sample")
    assert "fn main()" in visitor.tab.input_value("#id_source")
    visitor.tab.focus("#id_source")
    visitor.tab.keyboard.press("Control+z")
    assert visitor.tab.input_value("#id_source") == "mine"
