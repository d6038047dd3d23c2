"""Filters that write an execution's numbers and states as people read them."""

from __future__ import annotations

from typing import Any

from django import template

from executions import presentation

register = template.Library()


@register.filter
def outcome_label(key: str) -> str:
    return presentation.OUTCOME_LABELS.get(key, key)


# What a template finds missing comes as None or "", and stays empty.
@register.filter
def size(count: int | str | None) -> str:
    return presentation.size(count) if isinstance(count, int) else ""


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
