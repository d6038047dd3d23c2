from __future__ import annotations

from typing import Any

import pytest

from executions import specs
from executions.limits import Limits
from executions.specs import InvalidSubmission, Rules, Submission

RULES = Rules(
    max_files=3,
    max_source_bytes=100,
    max_stdin_bytes=10,
    max_args=3,
    max_args_bytes=20,
    max_env=2,
    max_env_bytes=20,
    maximum_limits=Limits(wall_time_ms=60_000),
)


def accepted(**data: Any) -> Submission:
    return specs.validate({"runtime": "python", "source": "", **data}, rules=RULES)


def refused(**data: Any) -> dict[str, list[str]]:
    with pytest.raises(InvalidSubmission) as caught:
        accepted(**data)
    return caught.value.fields


def with_file(**file: Any) -> dict[str, Any]:
    return {"source": None, "files": [{"path": "a.py", "content": "", **file}]}


def test_validate_fills_in_what_is_missing() -> None:
    submission = accepted(source="print(1)")
    assert submission.runtime == "python"
    assert submission.entry_point == "main.py"
    assert submission.files[0].content == b"print(1)"
    assert submission.limits == Limits()
    assert (submission.stdin, submission.args, submission.env) == (b"", (), {})


def test_validate_takes_aliases() -> None:
    assert accepted(runtime="py").runtime == "python"


def test_validate_lets_source_have_a_name() -> None:
    assert accepted(entry_point="tool.py").files[0].path == "tool.py"


def test_validate_keeps_every_byte() -> None:
    files = [
        {"path": "a.py", "content": "\0é"},
        {"path": "b.bin", "content": "AP8=", "encoding": "base64"},
    ]
    submission = accepted(
        source=None, files=files, entry_point="a.py", stdin_base64="AP8="
    )
    assert [f.content for f in submission.files] == [b"\0\xc3\xa9", b"\x00\xff"]
    assert submission.stdin == b"\x00\xff"


def test_validate_finds_the_entry_point() -> None:
    two = [{"path": p, "content": ""} for p in ("lib/x.py", "main.py")]
    assert accepted(source=None, files=two).entry_point == "main.py"
    assert accepted(**with_file(path="only.py")).entry_point == "only.py"


@pytest.mark.parametrize(
    "path",
    [
        "../a.py", "a/../b.py", "/etc/passwd", "a//b", "./a", "a/.", "", ".", "..",
        "a\\b", "a\0b", "a\nb", "a\x7fb", "a\u202eb", "a\u200bb", "-rf", "x" * 256,
        "é" * 128, "\ud800", "/".join("a" * 17), 5, None, ["a"], {"a": 1}, True,
    ],
)  # fmt: skip
def test_validate_refuses_file_names(path: object) -> None:
    assert "files.0.path" in refused(**with_file(path=path))


@pytest.mark.parametrize(
    "path", ["a.py", "src/main.py", "with space.py", "é.py", "x-y"]
)
def test_validate_takes_file_names(path: str) -> None:
    assert accepted(**with_file(path=path)).files[0].path == path


@pytest.mark.parametrize(
    ("paths", "field"),
    [
        (["a", "a"], "files"),
        (["a", "a/b"], "files"),
        (["x/y/z", "x/y"], "files"),
        (["a", "b", "c", "d"], "files"),
        ([], "files"),
    ],
)
def test_validate_refuses_file_lists(paths: list[str], field: str) -> None:
    files = [{"path": path, "content": ""} for path in paths]
    assert field in refused(source=None, files=files)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"runtime": None}, "runtime"),
        ({"runtime": "klingon"}, "runtime"),
        ({"runtime": "python\0"}, "runtime"),
        ({"runtime": "\ud800"}, "runtime"),
        ({"runtime": 5}, "runtime"),
        ({"runtime": ["python"]}, "runtime"),
        ({"source": None}, "source"),
        ({"files": []}, "source"),
        ({"source": 5}, "source"),
        ({"source": "\ud800"}, "source"),
        ({"source": "x" * 101}, "source"),
        ({"source": None, "files": "a"}, "files"),
        ({"source": None, "files": ["a"]}, "files.0"),
        (with_file(content=None), "files.0.content"),
        (with_file(content="*", encoding="base64"), "files.0.content"),
        (with_file(content="é", encoding="base64"), "files.0.content"),
        (with_file(encoding="utf-16"), "files.0.encoding"),
        (with_file(encoding=[]), "files.0.encoding"),
        (with_file(mode=0o777), "files.0.mode"),
        ({**with_file(), "entry_point": "b.py"}, "entry_point"),
        ({"entry_point": "../a"}, "entry_point"),
        ({"stdin": 5}, "stdin"),
        ({"stdin": "x" * 11}, "stdin"),
        ({"stdin": "\udfff"}, "stdin"),
        ({"stdin": "", "stdin_base64": ""}, "stdin"),
        ({"stdin_base64": "###"}, "stdin_base64"),
        ({"args": "x"}, "args"),
        ({"args": [1]}, "args.0"),
        ({"args": ["a\0b"]}, "args.0"),
        ({"args": ["", "\ud800"]}, "args.1"),
        ({"args": ["a"] * 4}, "args"),
        ({"args": ["a" * 21]}, "args"),
        ({"env": []}, "env"),
        ({"env": {"A": 1}}, "env.A"),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"env": {"A=B": ""}}, "env.A=B"),
        ({"env": {"": ""}}, "env."),
        ({"env": {"A": "x" * 20}}, "env"),
        ({"env": {"A": "", "B": "", "C": ""}}, "env"),
        ({"limits": []}, "limits"),
        ({"limits": {"wall_time_ms": 60_001}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": 10**100}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": 0}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": -1}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": 1.5}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": float("nan")}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": "9"}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": True}}, "limits.wall_time_ms"),
        ({"limits": {"wall_time": 1}}, "limits.wall_time"),
        ({"limits": {"as_dict": 1}}, "limits.as_dict"),
        ({"limits": {"__class__": 1}}, "limits.__class__"),
        ({"compile_limits": {"memory_bytes": 0}}, "compile_limits.memory_bytes"),
        ({"status": "finished"}, "status"),
        ({"owner": 1}, "owner"),
    ],
)
def test_validate_names_the_field(data: dict[str, Any], field: str) -> None:
    fields = refused(**data)
    assert list(fields) == [field]
    assert all(fields[field])


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "PATH", "HOME", "BASH_ENV", "PYTHONPATH", "NODE_OPTIONS", "IFS",
     "JAVA_TOOL_OPTIONS", "PERL5LIB", "RUBYOPT", "_JAVA_OPTIONS", "PHPRC"],
)  # fmt: skip
def test_validate_refuses_steering_variables(name: str) -> None:
    assert refused(env={name: "x"}) == {
        f"env.{name}": ["is set by the platform and may not be changed"]
    }


def test_validate_takes_other_variables() -> None:
    assert accepted(env={"_a1": "é", "B": ""}).env == {"_a1": "é", "B": ""}


def test_validate_names_the_limit() -> None:
    assert refused(source="x" * 101) == {"source": ["source may be at most 100 bytes"]}
    assert refused(limits={"wall_time_ms": 60_001}) == {
        "limits.wall_time_ms": ["wall_time_ms may be at most 60000"]
    }


def test_validate_tells_too_much_from_wrong() -> None:
    for data, is_excess in (
        ({"source": "x" * 101}, True),
        ({"limits": {"wall_time_ms": 60_001}}, True),
        ({"limits": {"wall_time_ms": 60_001}, "args": 1}, False),
        ({"limits": {"wall_time_ms": 0}}, False),
    ):
        with pytest.raises(InvalidSubmission) as caught:
            accepted(**data)
        assert caught.value.is_excess is is_excess


def test_validate_raises_values_below_the_runtime_minimum() -> None:
    submission = accepted(runtime="java", limits={"max_processes": 1})
    assert submission.limits.max_processes > 1


def test_validate_reports_a_bounded_number_of_fields() -> None:
    unknown = {f"x{n}": None for n in range(1000)}
    assert len(refused(**unknown)) == specs.MAX_REPORTED_FIELDS


def test_validate_shows_foreign_names_safely() -> None:
    (field,) = refused(**{"\ud800\n\x1b[31m" + "x" * 1000: 1})
    assert field.isprintable()
    assert len(field) <= specs.MAX_SHOWN_CHARACTERS


def test_validate_asks_whether_the_runtime_is_there() -> None:
    rules = Rules(missing=lambda runtime: f"{runtime.key} is not installed here")
    with pytest.raises(InvalidSubmission) as caught:
        specs.validate({"runtime": "python", "source": ""}, rules=rules)
    assert caught.value.fields == {"runtime": ["python is not installed here"]}
