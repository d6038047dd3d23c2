"""The languages that programs can be written in.

Each lives in a module of this package that holds nothing but its Runtime: adding a
language is adding a file. Free of Django, like the sandbox.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from executions.runtimes.base import PREPARED, Prestart, Runtime

__all__ = [
    "PREPARED",
    "DuplicateRuntime",
    "Prestart",
    "Runtime",
    "UnknownRuntime",
    "all",
    "get",
    "paths",
]

# Modules of this package that are about runtimes, not languages. Those called
# prestart_… are programs for an interpreter and must not be imported at all.
NOT_LANGUAGES = frozenset(
    {"base", "build", "bytecode", "packages", "prepare", "probe", "selftest"}
)


class UnknownRuntime(LookupError):
    """No runtime has this key or alias."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no runtime {name!r}")
        self.name = name


class DuplicateRuntime(ValueError):
    """Two runtimes claim the same key or alias."""


def all() -> tuple[Runtime, ...]:
    """Return every declared runtime, ordered by key, whether it can run here or not."""
    return _registry()[0]


def get(name: str) -> Runtime:
    """Return the runtime with this key or alias, in any case; raise UnknownRuntime."""
    try:
        return _registry()[1][name.strip().lower()]
    except KeyError:
        raise UnknownRuntime(name) from None


def paths() -> tuple[str, ...]:
    """Return what the toolchains here read outside /usr, /bin and /lib.

    A sandbox shows these read-only. Patterns are expanded; what is missing is left out.
    """
    patterns = {path for runtime in all() for path in runtime.paths}
    found = (match for p in patterns for match in Path("/").glob(p.lstrip("/")))
    return tuple(sorted(map(str, found)))


def forget() -> None:
    """Look at the modules again at the next call, as a language was added."""
    _registry.cache_clear()


def by_name(runtimes: Iterable[Runtime]) -> dict[str, Runtime]:
    """Return the runtimes by key and alias; raise DuplicateRuntime when two collide."""
    names: dict[str, Runtime] = {}
    for runtime in runtimes:
        for name in (runtime.key, *runtime.aliases):
            if name != name.strip().lower():
                raise ValueError(f"runtime {runtime.key}: {name!r} is not lower case")
            other = names.setdefault(name, runtime)
            if other is not runtime:
                raise DuplicateRuntime(
                    f"{name!r} names both {other.key} and {runtime.key}"
                )
    return names


@cache
def _registry() -> tuple[tuple[Runtime, ...], dict[str, Runtime]]:
    found = sorted(_discover(), key=lambda runtime: runtime.key)
    return tuple(found), by_name(found)


def _discover() -> Iterable[Runtime]:
    for module in pkgutil.iter_modules(__path__):
        if module.name in NOT_LANGUAGES or module.name.startswith("prestart_"):
            continue
        language = importlib.import_module(f"{__name__}.{module.name}")
        for value in vars(language).values():
            if isinstance(value, Runtime):
                yield value
