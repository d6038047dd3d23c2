"""Imports point one way; an arrow that turns round fails here by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("platform_site", "executions", "accounts")

# What a module (or any module below it) must not import, also not inside a function.
DJANGO = ("django", "rest_framework", "celery", "kombu", "environ", "redis", "psycopg")
DJANGO_FREE = (
    "executions.sandbox",
    "executions.limits",
    "executions.verdicts",
    "executions.runtimes",
)
UPPER = (
    "executions.api",
    "executions.views",
    "executions.admin",
    "executions.management",
)
FORBIDDEN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(DJANGO_FREE, (*DJANGO, "platform_site", "accounts")),
    "executions.sandbox": (
        *DJANGO,
        "platform_site",
        "accounts",
        "executions.models",
        "executions.services",
    ),
    "executions.models": (*UPPER, "executions.services", "executions.tasks"),
    "executions.services": UPPER,
    "executions.tasks": UPPER,
    "executions.channel": (*UPPER, "executions.services", "executions.tasks"),
    "accounts": ("executions",),
}


def _product_files() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "tests" not in path.parts and "migrations" not in path.parts
    ]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in _product_files()}


def _is_below(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _imported(node: ast.AST, module: str, path: Path) -> Iterator[str]:
    """Yield every name that an import statement may load, as absolute names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.split(".")
            up = node.level - (1 if path.name == "__init__.py" else 0)
            package = package[: len(package) - up]
            base = ".".join([*package, *([node.module] if node.module else [])])
        for alias in node.names:
            # `from package import name` loads package.name only when it is a module.
            whole = f"{base}.{alias.name}"
            yield whole if whole in MODULES else base


def _for_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(node: ast.AST, *, into_functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if _for_typing(child):
            continue
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function and not into_functions:
            continue
        yield child
        yield from _walk(child, into_functions=into_functions)


def imports(module: str, *, into_functions: bool) -> set[str]:
    path = MODULES[module]
    tree = ast.parse(path.read_text(), filename=str(path))
    return {
        name
        for node in _walk(tree, into_functions=into_functions)
        for name in _imported(node, module, path)
    }


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    below = [module for module in MODULES if _is_below(module, package)]
    assert below, f"{package} is gone: take its rule out of FORBIDDEN"
    turned = [
        f"{module} imports {name}"
        for module in below
        # tasks and services need each other: services does it inside a function.
        for name in sorted(imports(module, into_functions=True))
        for bad in FORBIDDEN[package]
        if _is_below(name, bad)
    ]
    assert turned == []


def test_imports_of_the_kubernetes_client_are_in_one_module() -> None:
    users = {
        module
        for module in MODULES
        if any(_is_below(n, "kubernetes") for n in imports(module, into_functions=True))
    }
    assert users <= {"executions.sandbox.api_server"}


def test_imports_of_the_metrics_library_are_where_somebody_asks_only() -> None:
    users = {
        module
        for module in MODULES
        if any(
            _is_below(name, "prometheus_client")
            for name in imports(module, into_functions=True)
        )
    }
    assert users == {"executions.metrics"}
    always = [m for m in MODULES if users & imports(m, into_functions=False)]
    assert always == []


def test_imports_make_no_cycle() -> None:
    graph = {
        module: {n for n in imports(module, into_functions=False) if n in MODULES}
        for module in MODULES
    }
    assert _cycle(graph) == []


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return one cycle of module names, or an empty list."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for name in sorted(graph[module]):
            if found := visit(name, [*trail, module]):
                return found
        done.add(module)
        return []

    for module in sorted(graph):
        if found := visit(module, []):
            return found
    return []


def test_imports_check_notices_a_cycle() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
