"""Puts measured rows beside their floors and the bounds they have to keep."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Samples

MB = 1_000_000
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Line:
    """One row of the table; `value` is a ratio where there is a floor."""

    form: str
    name: str
    measured: str
    floor: str
    value: float
    bound: float | None = None
    goal: float | None = None
    is_less_better: bool = True

    @property
    def is_kept(self) -> bool | None:
        if self.bound is None:
            return None
        if self.is_less_better:
            return self.value <= self.bound
        return self.value >= self.bound


def latency_lines(form: str, taken: Mapping[str, Samples]) -> list[Line]:
    hello, box = taken["python hello"], taken["bubblewrap python"]
    cpp, plain_cpp = taken["C++ hello"], taken["plain C++"]
    is_bound = form == "deployed"
    return [
        Line(
            form,
            "python hello p50 / bubblewrap",
            _ms(hello.median),
            _ms(box.median),
            hello.median / box.median,
            bound=1.3 if is_bound else None,
            goal=1.0 if is_bound else None,
        ),
        Line(
            form,
            "python hello p99 / bubblewrap p99",
            _ms(hello.percentile(0.99)),
            _ms(box.percentile(0.99)),
            hello.percentile(0.99) / box.percentile(0.99),
        ),
        Line(
            form,
            "python hello p50 / plain python",
            _ms(hello.median),
            _ms(taken["plain python"].median),
            hello.median / taken["plain python"].median,
        ),
        Line(
            form,
            "C++ hello p50 / g++ and run",
            _ms(cpp.median),
            _ms(plain_cpp.median),
            cpp.median / plain_cpp.median,
            bound=1.15 if is_bound else None,
        ),
    ]


def rate_lines(form: str, taken: Mapping[str, Samples]) -> list[Line]:
    clients, starts = taken["8 clients"].median, taken["plain start rate"].median
    is_bound = form == "deployed"
    return [
        Line(
            form,
            "8 clients / plain start rate",
            f"{clients:.0f}/s",
            f"{starts:.0f}/s",
            clients / starts,
            bound=0.42 if is_bound else None,
            goal=0.6 if is_bound else None,
            is_less_better=False,
        )
    ]


def submit_line(submits: Samples) -> Line:
    return Line(
        "deployed",
        "submits accepted, 2 web processes",
        f"{submits.median:.0f}/s",
        "",
        submits.median,
        bound=200,
        goal=300,
        is_less_better=False,
    )


def memory_line(form: str, sizes: Mapping[str, int]) -> Line:
    total_mb = sum(sizes.values()) / MB
    return Line(
        form,
        "idle memory (PSS), all processes",
        f"{total_mb:.0f} MB",
        "",
        total_mb,
        bound=200 if form == "embedded" else None,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def show(console: Console, lines: list[Line]) -> None:
    table = Table(title="Measured beside the floors of this machine")
    for title in ("form", "row"):
        table.add_column(title, no_wrap=True)
    for title in ("measured", "floor", "ratio", "bound", "goal", ""):
        table.add_column(title, justify="right")
    for line in lines:
        word = {None: "", True: "kept", False: "[bold]MISSED[/bold]"}[line.is_kept]
        table.add_row(
            line.form,
            line.name,
            line.measured,
            line.floor,
            f"{line.value:.2f}" if line.floor else "",
            _number(line.bound),
            _number(line.goal),
            word,
        )
    console.print(table)


def markdown(lines: list[Line]) -> str:
    """Return the table as the README shows it."""
    rows = ["| | measured | floor | ratio | bound |", "|---|---|---|---|---|"]
    for line in lines:
        ratio = f"{line.value:.2f}" if line.floor else ""
        sign = "≤" if line.is_less_better else "≥"
        bound = f"{sign} {_number(line.bound)}" if line.bound else ""
        cells = (f"{line.form}: {line.name}", line.measured, line.floor, ratio, bound)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def show_spans(console: Console, form: str, taken: Mapping[str, Samples]) -> None:
    table = Table(title=f"Where a python hello's time goes ({form}, ms)")
    for title in ("span", "p50", "p99"):
        table.add_column(title, justify="right" if title != "span" else "left")
    for name, samples in taken.items():
        p99 = samples.percentile(0.99)
        table.add_row(name, f"{samples.median:.2f}", f"{p99:.2f}")
    console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def keep(lines: list[Line], details: Mapping[str, Any]) -> Path:
    """Write everything to bench/results, named by the time; return the file."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%dT%H%M%SZ}.json"
    content = {
        "taken_at": now.isoformat(),
        "revision": _revision(),
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
            "load": os.getloadavg(),
        },
        "rows": [asdict(line) for line in lines],
        **details,
    }
    path.write_text(json.dumps(content, indent=1))
    return path


def _revision() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
