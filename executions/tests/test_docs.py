"""What is not documented fails here by name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

from executions import runtimes
from executions.limits import LIMIT_NAMES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CASTS = {"str", "bool", "int", "float", "list", "dict", "url", "json", "path"}


def _settings() -> list[str]:
    """Every name that the settings read from the environment, in their order."""
    names: list[str] = []
    tree = ast.parse((ROOT / "platform_site" / "settings.py").read_text())
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        first = node.args[0]
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in CASTS:
            is_env = isinstance(called.value, ast.Name) and called.value.id == "env"
            names += [first.value] if is_env else []
        elif isinstance(called, ast.Name) and called.id == "_limits":
            names += [f"{first.value}_{name.upper()}" for name in LIMIT_NAMES]
    return sorted(set(names))


def _commands() -> list[str]:
    ours = {"executions", "accounts", "platform_site"}
    return sorted(name for name, app in get_commands().items() if app in ours)


def _error_codes() -> list[str]:
    """The value of every `code = "…"` and `code="…"` of the API and its errors."""
    codes: set[str] = set()
    for path in (ROOT / "executions" / "api").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "code":
                value: ast.AST = node.value
            elif isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "code"
                for target in node.targets
            ):
                value = node.value
            else:
                continue
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                codes.add(value.value)
    return sorted(codes)


def _metrics() -> set[str]:
    """The names that executions.metrics gives its families, as Prometheus has them."""
    endings = {"_counter": "_total", "_gauge": "", "_histogram": ""}
    tree = ast.parse((ROOT / "executions" / "metrics.py").read_text())
    return {
        str(node.args[0].value) + endings[node.func.id]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in endings
        and isinstance(node.args[0], ast.Constant)
    }


def _words(path: Path) -> set[str]:
    return set(re.findall(r"[\w-]+", path.read_text()))


def test_docs_name_every_setting() -> None:
    settings = _settings()
    assert "DATABASE_URL" in settings
    assert "RUN_MAX_CPU_TIME_MS" in settings
    assert set(settings) - _words(DOCS / "settings.md") == set()


def test_docs_name_no_setting_that_is_gone() -> None:
    table = re.findall(
        r"^\| `([A-Z][A-Z0-9_]+)`", (DOCS / "settings.md").read_text(), re.M
    )
    assert set(table) - set(_settings()) - set(_of_the_web_server()) == set()


def _of_the_web_server() -> list[str]:
    """Names that gunicorn's configuration reads."""
    text = (ROOT / "gunicorn.conf.py").read_text()
    return re.findall(r"""["']([A-Z][A-Z0-9_]{3,})["']""", text)


def test_docs_name_every_setting_of_the_web_server() -> None:
    assert set(_of_the_web_server()) - _words(DOCS / "settings.md") == set()


def test_env_example_names_every_setting() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    named = {
        match[1] for line in lines if (match := re.match(r"#? ?([A-Z_0-9]+)=", line))
    }
    assert set(_settings()) - named == set()
    assert named - set(_settings()) - set(_of_the_web_server()) == set()


def test_docs_name_every_command() -> None:
    text = " ".join(path.read_text() for path in DOCS.glob("*.md"))
    missing = [name for name in _commands() if f"manage.py {name}" not in text]
    assert missing == []


def test_docs_have_a_row_for_every_metric() -> None:
    metrics = _metrics()
    assert {"executions_total", "watch_age_seconds"} < metrics
    rows = re.findall(r"^\| (`[a-z].*?) \|", (DOCS / "operations.md").read_text(), re.M)
    named = set(re.findall(r"`([a-z_]+)", " ".join(rows)))
    assert metrics - named == set()
    assert {name for name in named - metrics if "_total" in name} == set()


def test_docs_have_a_row_for_every_runtime() -> None:
    text = (DOCS / "runtimes.md").read_text()
    missing = [
        r.key
        for r in runtimes.all()
        if not re.search(rf"^\|.*`{re.escape(r.key)}`", text, re.M)
    ]
    assert missing == []


def test_docs_name_every_error_code() -> None:
    codes = _error_codes()
    assert codes
    assert set(codes) - _words(DOCS / "api.md") == set()


@pytest.mark.parametrize(
    "page", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda p: p.name
)
def test_docs_link_to_what_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if "://" not in link and not link.startswith("/")]
    broken = [link for link in local if not (page.parent / link).exists()]
    assert broken == []


@pytest.mark.jail
def test_docs_example_of_the_library_runs_as_written() -> None:
    readme = (ROOT / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.S)
    assert example is not None
    # Without a site folder: no package but our own can be imported.
    done = subprocess.run(
        [sys.executable, "-S", "-c", example[1]],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == b"b'42\\n'\n"
