"""The table of languages tells what the declarations say."""

from __future__ import annotations

from pathlib import Path

import pytest

from executions import runtimes
from executions.runtimes.base import Runtime

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "runtimes.md").read_text()


@pytest.mark.parametrize("runtime", runtimes.all(), ids=lambda runtime: runtime.key)
def test_docs_describe_the_runtime(runtime: Runtime) -> None:
    (row,) = [line for line in PAGE.splitlines() if f"| `{runtime.key}` |" in line]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        runtime.label,
        f"`{runtime.key}`",
        ", ".join(f"`{alias}`" for alias in runtime.aliases),
        f"`{runtime.source_name}`",
        " ".join(f"`{package}`" for package in runtime.packages),
    ]


@pytest.mark.parametrize("runtime", runtimes.all(), ids=lambda runtime: runtime.key)
def test_every_language_has_one_greeting(runtime: Runtime) -> None:
    folder = ROOT / "executions" / "tests" / "greetings"
    ending = Path(runtime.source_name).suffix
    assert [path.suffix for path in folder.glob(f"{runtime.key}.*")] == [ending]
