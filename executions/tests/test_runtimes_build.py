"""A program and its runtime become the argument lists that a sandbox executes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from executions import runtimes
from executions.limits import MIB, Limits
from executions.runtimes import build
from executions.runtimes.base import Runtime
from executions.sandbox.base import RunSpec, SourceFile

ECHO = Runtime(
    key="echo",
    label="Echo",
    source_name="main.txt",
    run=("echo", "{entry}"),
    version=("echo", "1"),
    packages=("coreutils",),
    selftest="",
)


def spec_of(
    runtime: Runtime,
    files: Mapping[str, str],
    entry: str,
    limits: Limits | None = None,
    compile_limits: Limits | None = None,
    **options: Any,
) -> RunSpec:
    return build.spec(
        runtime,
        key="one-1",
        files=[SourceFile(path, text.encode()) for path, text in files.items()],
        entry=entry,
        limits=limits or Limits(),
        compile_limits=compile_limits or Limits(),
        **options,
    )


def argv_of(template: tuple[str, ...], files: list[str], entry: str) -> tuple[str, ...]:
    runtime = replace(ECHO, run=template)
    return spec_of(runtime, dict.fromkeys(files, ""), entry).run.argv


def test_build_fills_in_the_entry_point() -> None:
    template = ("cc", "{entry}", "{stem}.o", "-I{dir}", "{name}")
    argv = argv_of(template, ["src/main.c"], "src/main.c")
    assert argv == ("cc", "src/main.c", "src/main.o", "-Isrc", "main")


def test_build_calls_the_top_folder_a_dot() -> None:
    assert argv_of(("cc", "-I{dir}"), ["main.c"], "main.c") == ("cc", "-I.")


def test_build_lists_sources_with_the_entry_point_last() -> None:
    files = ["main.f90", "lib/points.f90", "notes.txt", "lines.f90"]
    argv = argv_of(("gfortran", "{sources}"), files, "main.f90")
    assert argv == ("gfortran", "lib/points.f90", "lines.f90", "main.f90")


def test_build_lists_siblings_of_the_entry_point_only() -> None:
    files = ["app/main.go", "app/util.go", "other/main.go"]
    argv = argv_of(("go", "build", "{siblings}"), files, "app/main.go")
    assert argv == ("go", "build", "app/util.go", "app/main.go")


def test_build_never_lets_a_file_name_be_an_option() -> None:
    argv = argv_of(("cc", "{entry}", "{sources}"), ["-o.c", "-v.c"], "-v.c")
    assert argv == ("cc", "./-v.c", "./-o.c", "./-v.c")


def test_build_leaves_braces_in_file_names_alone() -> None:
    assert argv_of(("cat", "{entry}"), ["{stem}.c"], "{stem}.c") == ("cat", "{stem}.c")


def test_build_refuses_an_entry_point_that_is_not_there() -> None:
    with pytest.raises(build.UnknownEntry, match=r"other\.txt is not one of the files"):
        spec_of(ECHO, {"main.txt": ""}, "other.txt")


def test_build_gives_a_virtual_machine_less_heap_than_memory() -> None:
    limits = Limits(memory_bytes=256 * MIB)
    spec = spec_of(
        runtimes.get("java"), {"Main.java": "class Main {}"}, "Main.java", limits
    )
    assert "-Xmx192m" in spec.run.argv


def test_build_compiles_with_the_limits_of_the_compiler() -> None:
    run, compiling = Limits(memory_bytes=128 * MIB), Limits(memory_bytes=512 * MIB)
    spec = spec_of(
        runtimes.get("java"),
        {"Main.java": "class Main {}"},
        "Main.java",
        run,
        compiling,
    )
    assert spec.compile is not None
    assert spec.compile.limits == compiling
    assert "-J-Xmx448m" in spec.compile.argv
    assert spec.run.limits == run


def test_build_gives_the_program_its_environment_and_not_the_compiler() -> None:
    spec = spec_of(runtimes.get("c"), {"main.c": ""}, "main.c", env={"COLOUR": "blue"})
    assert spec.compile is not None
    assert spec.run.env["COLOUR"] == "blue"
    assert "COLOUR" not in spec.compile.env


def test_build_tells_the_program_nothing_of_the_compilers_environment() -> None:
    spec = spec_of(runtimes.get("go"), {"main.go": ""}, "main.go")
    assert spec.compile is not None
    assert "GOENV" in spec.compile.env
    assert set(spec.run.env) == {"PATH", "LANG", "GOMEMLIMIT"}
    assert spec.run.env["GOMEMLIMIT"] == "224MiB"


def test_build_speaks_utf8_and_finds_toolchains() -> None:
    env = spec_of(ECHO, {"main.txt": ""}, "main.txt").run.env
    assert env == {"PATH": build.SEARCH_PATH, "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("files", "entry", "prestart"),
    [
        (["main.js"], "main.js", "javascript"),
        (["main.js", "util.js"], "main.js", "javascript"),
        (["main.mjs"], "main.mjs", None),
        (["main.js", "package.json"], "main.js", None),
        (["other.js"], "other.js", None),
    ],
)
def test_build_uses_a_warm_interpreter_where_it_fits(
    files: list[str], entry: str, prestart: str | None
) -> None:
    spec = spec_of(runtimes.get("javascript"), dict.fromkeys(files, ""), entry)
    assert spec.prestart == prestart


def test_build_brings_the_runtimes_own_files_but_not_over_the_programs() -> None:
    typescript = runtimes.get("typescript")
    (brought,) = typescript.files
    plain = spec_of(typescript, {"main.ts": ""}, "main.ts")
    assert [file.path for file in plain.files] == ["main.ts", brought]
    own = spec_of(typescript, {"main.ts": "", brought: "mine"}, "main.ts")
    assert own.files[1] == SourceFile(brought, b"mine")
    assert len(own.files) == 2


@pytest.mark.parametrize(
    ("key", "source", "name"),
    [
        ("python", "print()", "main.py"),
        ("java", "public class Hello {}", "Hello.java"),
        ("java", "package a.b;\npublic final class Deep {}", "Deep.java"),
        ("java", "class A {}\nclass B { static void main(String[] x) {} }", "B.java"),
        ("java", "// public class No {}\npublic record Yes() {}", "Yes.java"),
        ("java", 'class A { String s = "\\npublic class No"; }', "Main.java"),
        ("java", "not java at all", "Main.java"),
        ("erlang", "-module(greeting).\n", "greeting.erl"),
        ("ada", "with X;\nprocedure Say_Hello is\nbegin\n", "say_hello.adb"),
    ],
)
def test_build_names_a_lone_file_as_the_language_demands(
    key: str, source: str, name: str
) -> None:
    assert build.own_name(runtimes.get(key), source.encode()) == name


def test_build_starts_a_java_class_by_its_full_name() -> None:
    source = "package shop.till;\npublic class Receipt {}"
    spec = spec_of(
        runtimes.get("java"), {"src/Receipt.java": source}, "src/Receipt.java"
    )
    assert spec.run.argv[-1] == "shop.till.Receipt"


def test_build_reads_names_from_sources_that_are_not_text() -> None:
    assert build.own_name(runtimes.get("java"), b"\xff\xfe\x00") == "Main.java"


@pytest.mark.parametrize("runtime", runtimes.all(), ids=lambda runtime: runtime.key)
def test_build_fills_every_placeholder_of_every_runtime(runtime: Runtime) -> None:
    name = runtime.source_name
    spec = spec_of(runtime, {name: runtime.selftest}, name)
    argv = (*spec.run.argv, *(spec.compile.argv if spec.compile else ()))
    assert not [word for word in argv if re.search(r"\{\w+\}", word)]


def test_build_warms_an_interpreter_for_the_limits_it_was_started_with() -> None:
    warm = {one.key: one for one in build.prestarts(Limits(memory_bytes=512 * MIB))}
    assert "--max-old-space-size=512" in warm["javascript"].argv
    javascript, files = runtimes.get("javascript"), {"main.js": ""}
    spec = spec_of(javascript, files, "main.js", Limits(memory_bytes=512 * MIB))
    assert (
        spec.run.argv[: len(warm["javascript"].command)] == warm["javascript"].command
    )
    assert spec.prestart == "javascript"
