"""Filters that write an execution's numbers and states as people read them."""

from __future__ import annotations

import re
from typing import Any

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from executions import presentation, verdicts

register = template.Library()

# A run of one control character's picture; few fonts have them, so they are spelt out.
_PICTURES = re.compile("([\u2400-\u2421])\\1*")
_MANY_MARKS = 5_000
_NAMES = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK "
    "SYN ETB CAN EM SUB ESC FS GS RS US SP DEL"
)
_NAME_OF = dict(enumerate(_NAMES.split(), start=0x2400))


@register.filter
def outcome_label(key: str) -> str:
    return presentation.OUTCOME_LABELS.get(key, key)


# What a template finds missing comes as None or "", and stays empty.
@register.filter
def size(count: int | str | None) -> str:
    return verdicts.size(count) if isinstance(count, int) else ""


@register.filter
def duration(milliseconds: int | str | None) -> str:
    if not isinstance(milliseconds, int):
        return ""
    return presentation.duration(milliseconds)


@register.filter
def readable(data: Any) -> str:
    """Show stored bytes, or text, with every control character visible."""
    return presentation.readable(
        data.encode() if isinstance(data, str) else bytes(data)
    )


@register.filter
def marked(text: str) -> SafeString:
    """Escape what `readable` returned, and draw its control characters as small marks.

    Where there are thousands, as in a binary file, their pictures must do.
    """
    safe = str(escape(text))
    if len(_PICTURES.findall(safe)) <= _MANY_MARKS:
        safe = _PICTURES.sub(_mark, safe)
    return mark_safe(safe)  # noqa: S308 (escaped above; _mark adds our own names only)


def _mark(run: re.Match[str]) -> str:
    name = _NAME_OF[ord(run[1])]
    count = f" \N{MULTIPLICATION SIGN}{len(run[0])}" if len(run[0]) > 1 else ""
    return f'<span class="control">{name}{count}</span>'
