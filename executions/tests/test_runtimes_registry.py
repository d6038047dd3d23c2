"""The registry finds languages by their files and never guesses between two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from executions import runtimes
from executions.runtimes.base import Runtime

SED = """
from executions.runtimes.base import Runtime

SED = Runtime(
    key="sed",
    label="Sed",
    aliases=("stream-editor",),
    source_name="main.sed",
    run=("sed", "-n", "-f", "{entry}", "/etc/hostname"),
    version=("sed", "--version"),
    packages=("sed",),
    selftest="1 { s/.*/42/; p }",
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """One more folder in which the registry looks for languages."""
    runtimes.__path__.append(str(tmp_path))
    runtimes.forget()
    yield tmp_path
    runtimes.__path__.remove(str(tmp_path))
    runtimes.forget()


def test_registry_holds_the_languages_people_ask_for() -> None:
    keys = {runtime.key for runtime in runtimes.all()}
    asked_for = "python javascript typescript c cpp go rust java bash perl ruby php lua"
    assert set(asked_for.split()) <= keys
    assert len(keys) >= 18


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("py", "python"),
        ("JS", "javascript"),
        ("c++", "cpp"),
        ("golang", "go"),
        (" TypeScript ", "typescript"),
        ("c#", "csharp"),
    ],
)
def test_registry_knows_aliases_in_any_case(name: str, key: str) -> None:
    assert runtimes.get(name).key == key


def test_registry_refuses_an_unknown_name() -> None:
    with pytest.raises(runtimes.UnknownRuntime, match="'brainfuck'") as caught:
        runtimes.get("brainfuck")
    assert caught.value.name == "brainfuck"


def test_registry_refuses_two_of_one_name() -> None:
    python = runtimes.get("python")
    rival = replace(python, key="cpython", aliases=("py",))
    with pytest.raises(runtimes.DuplicateRuntime, match="'py' names both python and"):
        runtimes.by_name([python, rival])


def test_registry_refuses_a_name_that_nobody_could_ask_for() -> None:
    python = runtimes.get("python")
    with pytest.raises(ValueError, match="not lower case"):
        runtimes.by_name([replace(python, key="Python")])


def test_registry_discovers_a_language_that_is_one_new_file(folder: Path) -> None:
    (folder / "sed.py").write_text(SED)
    runtimes.forget()
    assert runtimes.get("stream-editor").key == "sed"
    assert "sed" in [runtime.key for runtime in runtimes.all()]


def test_registry_leaves_bootstrap_programs_alone(folder: Path) -> None:
    (folder / "prestart_bomb.py").write_text("raise SystemExit('imported')")
    runtimes.forget()
    assert runtimes.get("python")


@pytest.mark.parametrize("runtime", runtimes.all(), ids=lambda runtime: runtime.key)
def test_registry_holds_complete_declarations(runtime: Runtime) -> None:
    assert "." in runtime.source_name
    assert runtime.label
    assert runtime.packages
    assert runtime.selftest.strip()
    assert not runtime.run[0].startswith("/")
    assert all(path.startswith("/") for path in runtime.paths)
