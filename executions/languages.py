"""The choice of languages that people are shown: labels, versions, first programs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from executions import rules, runtimes
from executions.runtimes import probe
from executions.runtimes.base import Runtime

SAMPLES_DIR = Path(__file__).parent / "samples"
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
    """Return all languages, those that can run here first. Starts no process itself."""
    found = [_language(runtime) for runtime in runtimes.all()]
    unknown = [r for r in found if r.is_available and r.key not in _versions]
    if unknown and _looking.acquire(blocking=False):
        keys = [language.key for language in unknown]
        threading.Thread(target=_look, args=(keys,), daemon=True).start()
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
        for found in probe.probe_all(runtimes.get(key) for key in keys):
            number = VERSION_NUMBER.search(found.version)
            _versions[found.runtime.key] = number[0] if number else ""
    finally:
        _looking.release()


def sample(runtime: Runtime) -> str:
    """Return a first program in this language; its self-test when there is none."""
    return _sample(runtime.key) or runtime.selftest


@cache
def _sample(key: str) -> str:
    try:
        return (SAMPLES_DIR / f"{key}.txt").read_text()
    except FileNotFoundError:
        return ""
