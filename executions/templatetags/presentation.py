"""Filters that write an execution's numbers and states as people read them."""

from __future__ import annotations

from typing import Any

from django import template

from executions import presentation

register = template.Library()


@register.filter
def outcome_label(key: str) -> str:
    return presentation.OUTCOME_LABELS.get(key, key)


@register.filter
def size(count: int) -> str:
    return presentation.size(count)


@register.filter
def duration(milliseconds: int | None) -> str:
    return "" if milliseconds is None else presentation.duration(milliseconds)


@register.filter
def readable(data: Any) -> str:
    """Show stored bytes, or text, with every control character visible."""
    return presentation.readable(
        data.encode() if isinstance(data, str) else bytes(data)
    )
