"""The suites are complete: every row that a program can show, every language."""

from __future__ import annotations

from collections import Counter

from executions import runtimes
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.program import HERE

# Rows that a single program inside shows; S18, S24, S25 and S31 are about requests and
# pages, S21, S23 and S33 about benign programs.
HOSTILE_ROWS = {f"S{n}" for n in (*range(1, 18), 19, 20, 22, *range(26, 31), 32)}
COMPILED = {"c", "cpp", "go", "rust", "java", "typescript"}


def test_suites_are_large_enough() -> None:
    assert len(HOSTILE) >= 80
    assert len(BENIGN) >= 50


def test_suites_have_every_row() -> None:
    assert {program.row for program in HOSTILE} == HOSTILE_ROWS | {"S27"}


def test_suites_name_each_program_once() -> None:
    counts = Counter(program.id for program in HOSTILE + BENIGN)
    assert [ident for ident, count in counts.items() if count > 1] == []


def test_suites_use_every_file() -> None:
    used = {(program.suite, program.source) for program in HOSTILE + BENIGN}
    used |= {
        (program.suite, extra)
        for program in HOSTILE + BENIGN
        for extra in program.extra.values()
        if isinstance(extra, str)
    }
    for suite in ("hostile", "benign"):
        files = {path.name for path in (HERE / suite).iterdir() if path.is_file()}
        assert files == {name for where, name in used if where == suite}


def test_benign_suite_speaks_every_language() -> None:
    spoken = {runtimes.get(program.runtime).key for program in BENIGN}
    assert spoken == {runtime.key for runtime in runtimes.all()}


def test_hostile_suite_attacks_several_compilers() -> None:
    attacked = {program.runtime for program in HOSTILE if program.row == "S27"}
    assert attacked >= COMPILED


def test_suite_programs_fill_in_their_bait() -> None:
    program = next(p for p in HOSTILE if p.source == "s27_include_bait.c")
    source = program.files({"bait_file": "/etc/bait.h"})["main.c"]
    assert b'#include "/etc/bait.h"' in source
