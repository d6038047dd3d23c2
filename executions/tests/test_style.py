"""Habits of this code that no linter knows."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A module is named after what it holds.
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "base_utils"}
# Migrations, settings files and programs that tests run.
NOT_MODULES = {"migrations", "hostile", "benign", "greetings", "gunicorn.conf.py"}
DOCUMENTED = ("executions/sandbox", "executions/services.py", "executions/models.py")


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def modules() -> list[Path]:
    """Our Python files, but for those that are no modules of ours."""
    return [
        path for path in _tracked("*.py") if not NOT_MODULES & {*path.parts, path.name}
    ]


def test_style_names_modules_after_what_they_hold(modules: list[Path]) -> None:
    assert [path for path in modules if path.stem in VAGUE] == []


def test_style_postpones_annotations(modules: list[Path]) -> None:
    late = "from __future__ import annotations"
    with_code = [
        path
        for path in modules
        # Part of the programs that it starts, to whom it must not show.
        if not path.name.startswith("prestart_")
        and any(
            not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body
        )
    ]
    assert [path for path in with_code if late not in path.read_text()] == []


def test_style_says_why_each_module_of_the_core_exists() -> None:
    silent = [
        path
        for path in _tracked(*DOCUMENTED)
        if path.suffix == ".py"
        and path.stat().st_size
        and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_style_lists_every_direct_dependency_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        pinned = [line for line in lines if line and not line.startswith(("#", "-r"))]
        assert pinned
        assert [line for line in pinned if "==" not in line or "#" not in line] == []
