from __future__ import annotations

from typing import Any

import pytest

from executions.models import Execution, Status
from executions.tests.api.conftest import HELLO, Caller


@pytest.mark.parametrize("path", ["/api/v1/executions", "/api/v1/executions/"])
def test_submit_stores_and_tells_where(owner: Caller, path: str) -> None:
    answer = owner.post(path, HELLO)
    row = Execution.objects.get()
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/v1/executions/{row.id}"
    assert (row.owner, row.status, row.runtime) == (
        owner.user,
        Status.QUEUED,
        "python",
    )
    assert owner.get(answer["Location"]).json() == answer.json()


def test_submit_keeps_every_byte(owner: Caller) -> None:
    files = [
        {"path": "main.py", "content": "\0é\n"},
        {"path": "data/x", "content": "AP8=", "encoding": "base64"},
    ]
    body = {"runtime": "py", "files": files, "stdin_base64": "AP8A", "args": ["é", ""]}
    path = owner.post("/api/v1/executions", body)["Location"]
    assert bytes(Execution.objects.get().stdin) == b"\0\xff\0"
    again = owner.get(f"{path}?include=submission&encoding=base64").json()
    assert again["args"] == ["é", ""]
    assert again["submission"] == {
        "files": [
            {"path": "main.py", "content": "AMOpCg==", "encoding": "base64"},
            {"path": "data/x", "content": "AP8=", "encoding": "base64"},
        ],
        "stdin_base64": "AP8A",
        "env": {},
    }
    text = owner.get(f"{path}?include=submission").json()["submission"]["files"]
    assert [f["encoding"] for f in text] == ["utf-8", "base64"]


def test_submit_shows_effective_limits(owner: Caller) -> None:
    answer = owner.submit(runtime="java", limits={"max_processes": 1}).json()
    assert answer["limits"]["max_processes"] > 1
    assert set(answer["compile_limits"]) == set(answer["limits"])


def test_submit_can_be_repeated_from_what_is_shown(owner: Caller) -> None:
    path = owner.submit(stdin="x", env={"A": "b"}, args=["c"])["Location"]
    shown = owner.get(f"{path}?include=submission").json()
    again = {
        **shown["submission"],
        **{
            name: shown[name]
            for name in ("runtime", "entry_point", "args", "limits", "compile_limits")
        },
    }
    assert owner.post("/api/v1/executions", again).status_code == 201
    first, second = Execution.objects.values(
        "runtime", "files", "stdin", "env", "args", "limits", "entry_point"
    )
    assert first == second


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"runtime": "klingon"}, "invalid", "runtime"),
        ({"source": None}, "invalid", "source"),
        ({"limits": {"wall_time_ms": 10**9}}, "limit_exceeded", "limits.wall_time_ms"),
        ({"limits": {"wall_time_ms": 0}}, "invalid", "limits.wall_time_ms"),
        ({"stdin": "\ud800"}, "invalid", "stdin"),
        ({"source": "\ud800"}, "invalid", "source"),
        ({"runtime": "\0"}, "invalid", "runtime"),
        ({"env": {"LD_PRELOAD": "x"}}, "invalid", "env.LD_PRELOAD"),
        ({"args": ["a"] * 1000}, "limit_exceeded", "args"),
    ],
)
def test_submit_names_what_is_wrong(
    owner: Caller, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = owner.submit(**changes)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert list(error["fields"]) == [field]
    assert error["message"]
    assert error["request_id"] == answer["X-Request-ID"]
    assert not Execution.objects.exists()


def test_submit_refuses_two_programs_and_none(owner: Caller) -> None:
    files = [{"path": "main.py", "content": "1"}]
    for changes in ({"source": None}, {"source": "1", "files": files}):
        error = owner.submit(**changes).json()["error"]
        assert error["message"] == "source or files is required, and not both"


def test_submit_takes_null_for_missing(owner: Caller) -> None:
    names = ("files", "entry_point", "stdin", "args", "env", "limits")
    assert owner.submit(**dict.fromkeys(names)).status_code == 201


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "1e3", "", "1,5", "x"])
def test_submit_refuses_strange_waits(owner: Caller, wait: str) -> None:
    answer = owner.post(f"/api/v1/executions?wait={wait}", HELLO)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == ["wait"]


def test_submit_answers_when_the_wait_is_over(owner: Caller) -> None:
    answer = owner.post("/api/v1/executions?wait=0.05", HELLO)
    assert answer.status_code == 201
    assert answer.json()["status"] == "queued"
