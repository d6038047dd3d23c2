"""Tables of the commands: drawn on a terminal, a line at a time anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOBase
from typing import TextIO, cast

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

BAD, FAINT = "bold red", "dim"

Stream = TextIO | TextIOBase


class Table:
    """Rows of text; `columns` maps each heading to its width in plain lines."""

    def __init__(self, stream: Stream, columns: Mapping[str, int]) -> None:
        self._stream = stream
        self._widths = list(columns.values())
        self._drawn = RichTable(box=None, pad_edge=False) if stream.isatty() else None
        if self._drawn is not None:
            for heading in columns:
                self._drawn.add_column(heading, overflow="fold")

    def add(self, row: Sequence[str], style: str = "") -> None:
        """Add a row, in one rich style where there are any."""
        if self._drawn is not None:
            # Text, as what a program said is not markup.
            self._drawn.add_row(*(Text(cell, style=style) for cell in row))
            return
        cells = (
            cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)
        )
        self._stream.write("  ".join(cells).rstrip() + "\n")
        self._stream.flush()

    def finish(self) -> None:
        if self._drawn is not None:
            Console(file=cast(TextIO, self._stream)).print(self._drawn)


@contextmanager
def working(what: str, *, is_slow: bool = False) -> Iterator[None]:
    """Say on the terminal what takes its time; elsewhere only if it takes long."""
    if sys.stderr.isatty():
        with Console(stderr=True).status(what):
            yield
        return
    if is_slow:
        sys.stderr.write(f"{what}\n")
        sys.stderr.flush()
    yield
