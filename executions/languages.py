"""The choice of languages that people are shown: labels, versions, first programs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from executions import rules, runtimes, toolchains
from executions.runtimes.base import Runtime

SAMPLES_DIR = Path(__file__).parent / "samples"
FIRST_LOOK_S = 1.0
"""How long the first page waits for versions; a later one has the rest."""

LOOKING_THREADS = 4
VERSION_NUMBER = re.compile(r"\d+(?:\.\d+)+")

_versions: dict[str, str] = {}
_looking = threading.Lock()


@dataclass(frozen=True, slots=True)
class Language:
    """One runtime as the page offers it; `version` is "" while it is not known."""

    key: str
    label: str
    version: str
    source_name: str
    sample: str
    packages: tuple[str, ...]
    is_available: bool


def choices() -> list[Language]:
    """Return all languages, those that can run here first.

    The first call of a process has toolchains asked for their versions, and waits a
    moment for the answers.
    """
    available = [r.key for r in runtimes.all() if rules.missing(r) is None]
    unknown = [key for key in available if key not in _versions]
    if unknown and _looking.acquire(blocking=False):
        look = threading.Thread(target=_look, args=(unknown,), daemon=True)
        look.start()
        look.join(FIRST_LOOK_S)
    found = (_language(runtime) for runtime in runtimes.all())
    return sorted(found, key=lambda each: (not each.is_available, each.label.lower()))


def _language(runtime: Runtime) -> Language:
    return Language(
        key=runtime.key,
        label=runtime.label,
        version=_versions.get(runtime.key, ""),
        source_name=runtime.source_name,
        sample=sample(runtime),
        packages=runtime.packages,
        is_available=rules.missing(runtime) is None,
    )


def _look(keys: Iterable[str]) -> None:
    """Ask the toolchains for their versions; some take a second to answer."""
    try:
        with ThreadPoolExecutor(max_workers=LOOKING_THREADS) as pool:
            list(pool.map(_ask, keys))
    finally:
        _looking.release()


def _ask(key: str) -> None:
    number = VERSION_NUMBER.search(toolchains.find(runtimes.get(key)).version)
    _versions[key] = number[0] if number else ""


def sample(runtime: Runtime) -> str:
    """Return a first program in this language; its self-test when there is none."""
    return _sample(runtime.key) or runtime.selftest


@cache
def _sample(key: str) -> str:
    try:
        return (SAMPLES_DIR / f"{key}.txt").read_text()
    except FileNotFoundError:
        return ""
