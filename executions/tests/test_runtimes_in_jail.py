"""Every language of this machine really runs in a jail, as people would use it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from executions import runtimes
from executions.runtimes import build, bytecode, prepare, probe, selftest
from executions.runtimes.base import Runtime
from executions.runtimes.selftest import Allowed
from executions.sandbox.base import (
    Backend,
    Case,
    End,
    Outcome,
    Output,
    SourceFile,
    StageOutcome,
)
from executions.sandbox.jailpool import Config
from executions.sandbox.jails import JailBackend

pytestmark = pytest.mark.jail

GREETINGS = Path(__file__).parent / "greetings"
AVAILABLE = [runtime for runtime in runtimes.all() if probe.is_available(runtime)]
# As long as it may take: other tests run at the same time.
COMPILING = settings.COMPILE_DEFAULT.with_(
    wall_time_ms=settings.COMPILE_MAX.wall_time_ms
)
RUNNING = settings.RUN_DEFAULT.with_(wall_time_ms=settings.RUN_MAX.wall_time_ms)
ALLOWED = Allowed(
    run=RUNNING,
    run_maximum=settings.RUN_MAX,
    compile=COMPILING,
    compile_maximum=settings.COMPILE_MAX,
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    # Preparing takes a minute of CPU: it is kept from one test run to the next.
    base = Path(settings.SANDBOX_PREPARED_DIR)
    for runtime in prepare.needed(base):
        prepare.prepare(runtime, base)
    config = Config(read_only=(*runtimes.paths(), f"{base}:{runtimes.PREPARED}"))
    prestarts = bytecode.added_to(build.prestarts(settings.RUN_DEFAULT))
    made = JailBackend(tmp_path_factory.mktemp("state"), config, prestarts)
    yield made
    made.close()


def run(
    backend: Backend, key: str, files: Mapping[str, str], entry: str, case: Case
) -> StageOutcome:
    """Run a program of several files; it has to compile."""
    runtime = runtimes.get(key)
    if not probe.is_available(runtime):
        pytest.fail(probe.probe(runtime).problem)
    spec = build.spec(
        runtime,
        key=f"test-{uuid.uuid4()}",
        files=[SourceFile(path, text.encode()) for path, text in files.items()],
        entry=entry,
        limits=RUNNING.with_(max_processes=128),
        compile_limits=COMPILING,
        cases=(case,),
    )
    return only_case(selftest.outcome_of(backend, spec))


def only_case(outcome: Outcome) -> StageOutcome:
    assert outcome.cases, outcome.compile
    return outcome.cases[0]


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_runtime_passes_its_selftest(runtime: Runtime, backend: Backend) -> None:
    assert selftest.run(backend, probe.probe(runtime), ALLOWED).problem == ""


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_runtime_reads_and_writes_utf8_and_exits(
    runtime: Runtime, backend: Backend
) -> None:
    (path,) = GREETINGS.glob(f"{runtime.key}.*")
    spec = selftest.spec(runtime, path.read_bytes(), ALLOWED)
    case = Case(stdin="Zoë ☃\n".encode())
    stage = only_case(selftest.outcome_of(backend, replace(spec, cases=(case,))))
    assert (stage.end, stage.exit_code) == (End.EXITED, 3), stage.stderr
    assert stage.stdout == Output(head="Grüße, Zoë ☃!\n".encode())


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_runtime_works_at_its_smallest_limits(
    runtime: Runtime, backend: Backend
) -> None:
    smallest = {"max_processes": 1, "memory_bytes": 1, "stack_bytes": 1}
    spec = selftest.spec(runtime, runtime.selftest.encode(), ALLOWED, smallest)
    outcome = selftest.outcome_of(backend, spec)
    assert selftest.problem_of(outcome, runtime.selftest_stdout) == ""


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_runtime_tells_of_a_broken_program(runtime: Runtime, backend: Backend) -> None:
    # PHP prints whatever is not marked as a program.
    opening = b"<?php " if runtime.key == "php" else b""
    source = opening + b"this ( is not } a program\n"
    spec = selftest.spec(runtime, source, ALLOWED)
    outcome = selftest.outcome_of(backend, spec)
    stage = outcome.compile or outcome.cases[0]
    assert stage.end is End.EXITED
    assert stage.exit_code
    assert stage.stdout.total_bytes or stage.stderr.total_bytes


def test_c_builds_all_its_files(backend: Backend) -> None:
    files = {
        "main.c": '#include "sum.h"\nint main(void) { return sum(20, 22); }\n',
        "lib/sum.c": "int sum(int a, int b) { return a + b; }\n",
        "sum.h": "int sum(int a, int b);\n",
    }
    assert run(backend, "c", files, "main.c", Case()).exit_code == 42


def test_cpp_uses_threads(backend: Backend) -> None:
    source = (
        "#include <cstdio>\n#include <thread>\n"
        "int main(int n, char** a) {\n"
        '  std::thread t([&] { std::printf("%s in a thread\\n", a[1]); });\n'
        "  t.join();\n}\n"
    )
    stage = run(backend, "cpp", {"main.cpp": source}, "main.cpp", Case(args=("x y",)))
    assert stage.stdout.head == b"x y in a thread\n"


def test_go_builds_the_files_of_its_folder(backend: Backend) -> None:
    files = {
        "app/main.go": (
            'package main\n\nimport "os"\n\nfunc main() { os.Exit(code()) }\n'
        ),
        "app/code.go": "package main\n\nfunc code() int { return 42 }\n",
    }
    assert run(backend, "go", files, "app/main.go", Case()).exit_code == 42


def test_go_finds_the_standard_library_compiled(backend: Backend) -> None:
    source = (
        'package main\n\nimport "net/http"\n\nfunc main() { println(http.StatusOK) }\n'
    )
    runtime = runtimes.get("go")
    outcome = selftest.outcome_of(
        backend, selftest.spec(runtime, source.encode(), ALLOWED)
    )
    assert outcome.compile is not None
    assert only_case(outcome).stderr.head == b"200\n"
    # Compiling net/http and all below it takes 15 s of CPU, linking it under 1.
    assert outcome.compile.cpu_time_ms < 5_000


def test_go_clears_away_garbage_in_time(backend: Backend) -> None:
    source = (
        "package main\n\nfunc main() {\n"
        "\tvar live [150][]byte\n"
        "\tfor i := 0; i < 600; i++ {\n"
        "\t\tblock := make([]byte, 1<<20)\n"
        "\t\tfor j := range block {\n\t\t\tblock[j] = 1\n\t\t}\n"
        "\t\tlive[i%150] = block\n"
        "\t}\n\tsum := 0\n"
        "\tfor _, block := range live {\n\t\tsum += int(block[7])\n\t}\n"
        "\tprintln(sum)\n}\n"
    )
    stage = run(backend, "go", {"main.go": source}, "main.go", Case())
    assert (stage.end, stage.stderr.head) == (End.EXITED, b"150\n")


def test_java_finds_its_packages(backend: Backend) -> None:
    files = {
        "src/shop/Till.java": (
            "package shop;\n"
            "public class Till {\n"
            "  public static void main(String[] args) {\n"
            "    System.out.println(new shop.parts.Coin(args[0]));\n  }\n}\n"
        ),
        "src/shop/parts/Coin.java": (
            "package shop.parts;\npublic record Coin(String name) {}\n"
        ),
    }
    case = Case(args=("penny",))
    stage = run(backend, "java", files, "src/shop/Till.java", case)
    assert stage.stdout.head == b"Coin[name=penny]\n"


def test_java_leaves_memory_for_the_machine(backend: Backend) -> None:
    source = (
        "public class Main {\n"
        "  public static void main(String[] args) {\n"
        "    var all = new java.util.ArrayList<byte[]>();\n"
        "    while (true) all.add(new byte[1 << 20]);\n  }\n}\n"
    )
    stage = run(backend, "java", {"Main.java": source}, "Main.java", Case())
    # Its own error, with a trace of the stack, says more than being killed.
    assert (stage.end, stage.exit_code) == (End.EXITED, 1)
    assert b"java.lang.OutOfMemoryError" in stage.stderr.head


def test_typescript_checks_types(backend: Backend) -> None:
    runtime = runtimes.get("typescript")
    source = b"const answer: number = 'forty-two';\n"
    outcome = selftest.outcome_of(backend, selftest.spec(runtime, source, ALLOWED))
    assert outcome.compile is not None
    assert outcome.compile.exit_code
    assert b"error TS2322" in outcome.compile.stdout.head
    assert outcome.cases == ()


def test_typescript_imports_its_other_files(backend: Backend) -> None:
    files = {
        "main.ts": 'import { sum } from "./lib/sum";\nprocess.exit(sum(20, 22));\n',
        "lib/sum.ts": "export const sum = (a: number, b: number): number => a + b;\n",
    }
    assert run(backend, "typescript", files, "main.ts", Case()).exit_code == 42


def test_rust_finds_its_modules(backend: Backend) -> None:
    files = {
        "main.rs": "mod sum;\nfn main() { std::process::exit(sum::sum(20, 22)) }\n",
        "sum.rs": "pub fn sum(a: i32, b: i32) -> i32 { a + b }\n",
    }
    assert run(backend, "rust", files, "main.rs", Case()).exit_code == 42


def test_javascript_clears_away_garbage_in_time(backend: Backend) -> None:
    source = (
        "const live = []; const block = () => new Array(1 << 17).fill(1);\n"
        "for (let i = 0; i < 600; i++) live[i % 100] = block();\n"
        "console.log(live.length);\n"
    )
    stage = run(backend, "javascript", {"main.js": source}, "main.js", Case())
    assert (stage.end, stage.stdout.head) == (End.EXITED, b"100\n")


def test_javascript_past_its_memory_is_killed(backend: Backend) -> None:
    source = "const a = []; while (true) a.push(new Array(1000).fill({}));\n"
    stage = run(backend, "javascript", {"main.js": source}, "main.js", Case())
    assert stage.end is End.MEMORY


def test_javascript_runs_modules(backend: Backend) -> None:
    files = {
        "main.mjs": 'import { sum } from "./sum.mjs";\nprocess.exit(sum(20, 22));\n',
        "sum.mjs": "export const sum = (a, b) => a + b;\n",
    }
    assert run(backend, "javascript", files, "main.mjs", Case()).exit_code == 42


def test_fortran_compiles_modules_before_the_program(backend: Backend) -> None:
    files = {
        "main.f90": "program p\n  use sums\n  call exit(total(20, 22))\nend program\n",
        "sums.f90": (
            "module sums\ncontains\n"
            "  integer function total(a, b)\n    integer, intent(in) :: a, b\n"
            "    total = a + b\n  end function\nend module\n"
        ),
    }
    assert run(backend, "fortran", files, "main.f90", Case()).exit_code == 42


def test_a_language_that_is_one_new_file_runs(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "sed.py").write_text(
        "from executions.runtimes.base import Runtime\n"
        "SED = Runtime(key='sed', label='Sed', source_name='main.sed',\n"
        "    run=('sed', '-n', '-f', '{entry}'), version=('sed', '--version'),\n"
        "    packages=('sed',), selftest='$ { s/.*/42/; p }')\n"
    )
    runtimes.__path__.append(str(tmp_path))
    runtimes.forget()
    try:
        sed = runtimes.get("sed")
        spec = selftest.spec(sed, sed.selftest.encode(), ALLOWED)
        spec = replace(spec, cases=(Case(stdin=b"one\ntwo\n"),))
        stage = only_case(selftest.outcome_of(backend, spec))
        assert stage.stdout.head == b"42\n"
    finally:
        runtimes.__path__.remove(str(tmp_path))
        runtimes.forget()
