"""Takes each row and its floor turn by turn, and keeps every sample."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench import floors, forms
from bench.client import Connection, request_bytes

WAIT = "/api/v1/executions?wait=60"
NO_WAIT = "/api/v1/executions"
# Told apart from a result by its verdict; times of a failure would mean nothing.
OK = "ok"


@dataclass
class Samples:
    """What one row gave, in the order it was taken."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, and the samples of each row in a round."""

    rounds: int = 15
    hellos: int = 20
    builds: int = 2
    seconds: float = 3.0
    rate_rounds: int = 4
    warm_up: int = 20


QUICK = Effort(rounds=3, hellos=10, builds=1, seconds=1.5, rate_rounds=2, warm_up=10)


class Product:
    """The product's side of a row: one program over HTTP, and its result."""

    def __init__(self, form: forms.Form) -> None:
        self.form = form
        self.connection = Connection(form.port)
        self.python = self._request("python", floors.HELLO_PYTHON)
        self.cpp = self._request("cpp", floors.HELLO_CPP)

    def _request(self, runtime: str, source: str, path: str = WAIT) -> bytes:
        return request_bytes(
            path, {"runtime": runtime, "source": source}, self.form.key
        )

    def hello_python(self) -> float:
        return self._timed(self.python)[0]

    def hello_cpp(self) -> float:
        return self._timed(self.cpp)[0]

    def rate(self, seconds: float) -> float:
        """Finished python hellos a second, for as many clients as the floor has."""
        connections = Connections(self.form.port)
        said = b'"verdict":"ok"'
        return connections.rate(self.python, seconds, floors.CLIENTS, said)

    def submit_rate(self, seconds: float, clients: int) -> float:
        """Submits accepted a second, nobody waiting for a result."""
        request = self._request("python", floors.HELLO_PYTHON, NO_WAIT)
        said = b'"status":"queued"'
        return Connections(self.form.port).rate(request, seconds, clients, said)

    def timings(self) -> dict[str, float]:
        """Run one hello and return where its time went, in ms."""
        began = time.time()
        took, answer = self._timed(self.python)
        return spans(began, took, answer)

    def _timed(self, request: bytes) -> tuple[float, dict[str, Any]]:
        began = time.perf_counter()
        answer = self.connection.post(request)
        took = time.perf_counter() - began
        if answer.get("verdict") != OK:
            raise AssertionError(f"a hello was not ok: {answer}")
        return took, answer


class Connections:
    """One connection for each thread that repeats a request."""

    def __init__(self, port: int) -> None:
        self.port = port

    def rate(self, request: bytes, seconds: float, clients: int, said: bytes) -> float:
        """Answers a second that hold `said`; raises UnexpectedAnswer at another."""
        idle = [Connection(self.port) for _ in range(clients)]

        def action() -> None:
            connection = idle.pop()
            connection.post_blind(request, said)
            idle.append(connection)

        try:
            return floors.at_once(action, seconds, clients)
        finally:
            for connection in idle:
                connection.close()


def spans(began: float, took_s: float, answer: dict[str, Any]) -> dict[str, float]:
    """Divide one request's time by the times that its row keeps.

    The client, the database and the worker share this machine's clock.
    """

    def at(name: str) -> float:
        return datetime.fromisoformat(answer[name]).timestamp()

    marks = [
        ("request to row", began),
        ("row to claim", at("queued_at")),
        ("claim to sandbox", at("started_at")),
        ("sandbox to first output", at("sent_at")),
        ("first output to end", at("first_output_at")),
        ("end to recorded", at("ended_at")),
        ("recorded to answer", at("recorded_at")),
        ("", began + took_s),
    ]
    pairs = itertools.pairwise(marks)
    return {name: (until - since) * 1000 for (name, since), (_, until) in pairs}


Row = tuple[str, str, Callable[[], float], int]


def turn_by_turn(
    rows: list[Row], rounds: int, report: Callable[[str], None]
) -> dict[str, Samples]:
    """Take all rows, again and again, so that a slow minute meets each of them."""
    taken = {name: Samples(name, unit) for name, unit, _, _ in rows}
    for number in range(1, rounds + 1):
        for name, _, action, times in rows:
            report(f"round {number} of {rounds}: {name}")
            taken[name].values += [action() for _ in range(times)]
    return taken


def latencies(
    product: Product, effort: Effort, report: Callable[[str], None]
) -> dict[str, Samples]:
    rows: list[Row] = [
        ("plain python", "s", floors.plain_python, effort.hellos),
        ("bubblewrap python", "s", floors.bubblewrap_python, effort.hellos),
        ("python hello", "s", product.hello_python, effort.hellos),
        ("plain C++", "s", floors.compile_and_run_cpp, effort.builds),
        ("C++ hello", "s", product.hello_cpp, effort.builds),
    ]
    return turn_by_turn(rows, effort.rounds, report)


def rates(
    product: Product, effort: Effort, report: Callable[[str], None]
) -> dict[str, Samples]:
    seconds = effort.seconds
    rows: list[Row] = [
        ("plain start rate", "1/s", lambda: floors.start_rate(seconds), 1),
        ("8 clients", "1/s", lambda: product.rate(seconds), 1),
    ]
    return turn_by_turn(rows, effort.rate_rounds, report)


def warm_up(product: Product, effort: Effort) -> None:
    for _ in range(effort.warm_up):
        product.hello_python()
        floors.plain_python()
        floors.bubblewrap_python()
    product.hello_cpp()
    floors.compile_and_run_cpp()
    product.rate(1.0)
