"""Tables of the commands: drawn on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from io import TextIOBase
from typing import TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

BAD, FAINT = "bold red", "dim"
# A long text pushes what follows it on its own line only.
WIDEST = 48


Stream = TextIO | TextIOBase


def is_terminal(stream: Stream) -> bool:
    return stream.isatty()


def show(
    stream: Stream,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    styles: Sequence[str],
) -> None:
    """Write the rows; `styles` has one rich style for each of them, or ""."""
    lines = list(rows)
    if is_terminal(stream):
        _draw(stream, headings, lines, styles)
    else:
        _line_up(stream, lines)


def _draw(
    stream: Stream,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    styles: Sequence[str],
) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row, style in zip(rows, styles, strict=True):
        # Text, as what a program said is not markup.
        table.add_row(*(Text(cell, style=style) for cell in row))
    Console(file=cast(TextIO, stream)).print(table)


def _line_up(stream: Stream, rows: Sequence[Sequence[str]]) -> None:
    columns = zip(*rows, strict=True)
    widths = [min(max(map(len, column)), WIDEST) for column in columns]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        stream.write("  ".join(cells).rstrip() + "\n")


def terminal_of_errors() -> Console | None:
    """Return where progress is shown, or None when nobody watches."""
    return Console(stderr=True) if is_terminal(sys.stderr) else None
