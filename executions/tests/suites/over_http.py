"""Runs a program of the suites through the REST API of a running server."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from executions.tests.suites.program import Observed, Program

WAIT_S = 50
GIVE_UP_S = 240


class Refused(Exception):
    """The server answered with something else than 200 or 201."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500].decode(errors='replace')}")
        self.status = status
        self.body = body


class Server:
    """One server and one key; each call has its own connection: threads may share."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 80
        self._key = key

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None
    ) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=90)
        headers = {"Authorization": f"Bearer {self._key}"}
        raw = json.dumps(body).encode() if isinstance(body, Mapping) else body
        if raw is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, raw, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status not in {200, 201}:
            raise Refused(answer.status, content)
        return json.loads(content)

    def run(self, program: Program, bait: Mapping[str, str]) -> Observed:
        """Submit, wait for the end, and return what the server then says."""
        created = self.call(
            "POST", f"/api/v1/executions?wait={WAIT_S}", submission(program, bait)
        )
        path = f"/api/v1/executions/{created['id']}?encoding=base64"
        give_up = time.monotonic() + GIVE_UP_S
        while True:
            seen = self.call("GET", f"{path}&wait={WAIT_S}")
            if seen["status"] in {"finished", "cancelled"}:
                return observed(seen)
            if time.monotonic() > give_up:
                return Observed(verdict=f"stuck in {seen['status']}", raw=seen)

    def runtimes(self) -> dict[str, bool]:
        """Return each runtime's key, and whether it is available."""
        answer = self.call("GET", "/api/v1/runtimes")
        rows = answer["results"] if isinstance(answer, dict) else answer
        return {row["key"]: bool(row["is_available"]) for row in rows}


def submission(program: Program, bait: Mapping[str, str]) -> dict[str, Any]:
    files = program.files(bait)
    body: dict[str, Any] = {
        "runtime": program.runtime,
        "files": [
            {
                "path": path,
                "content": base64.b64encode(content).decode(),
                "encoding": "base64",
            }
            for path, content in files.items()
        ],
        "entry_point": next(iter(files)),
        "args": program.given_args(bait),
        "env": program.given_env(bait),
        "limits": program.given_limits(),
        "compile_limits": program.given_compile_limits(),
    }
    if stdin := program.given_stdin(bait):
        body["stdin_base64"] = base64.b64encode(stdin).decode()
    return body


def observed(seen: Mapping[str, Any]) -> Observed:
    """Read the API's execution, fetched with encoding=base64."""
    run = seen["run"] or {}
    build = seen["compile"] or {}
    return Observed(
        verdict=seen["verdict"] or seen["status"],
        reason=seen["reason"],
        stdout=_bytes(run, "stdout"),
        stderr=_bytes(run, "stderr"),
        compile_stdout=_bytes(build, "stdout"),
        compile_stderr=_bytes(build, "stderr"),
        exit_code=run.get("exit_code"),
        signal=run.get("signal"),
        cpu_time_ms=run.get("cpu_time_ms") or 0,
        wall_time_ms=run.get("wall_time_ms") or 0,
        memory_peak_bytes=run.get("memory_peak_bytes") or 0,
        stdout_dropped=run.get("stdout_dropped_bytes") or 0,
        stderr_dropped=run.get("stderr_dropped_bytes") or 0,
        raw=seen,
    )


def _bytes(stage: Mapping[str, Any], stream: str) -> bytes:
    return base64.b64decode(stage.get(stream) or "")
