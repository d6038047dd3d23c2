"""Requests that are meant to hurt, against a real server: rows A4 and A10."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.tests.api.conftest import HELLO, Web

PATH = "/api/v1/executions"
MIB = 1024 * 1024


class Client:
    def __init__(self, web: Web, key: str) -> None:
        self.web = web
        self.key = key

    def send(
        self, body: bytes, method: str = "POST", path: str = PATH, **headers: str
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=30)
        sent = {
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content else None
        finally:
            connection.close()


@pytest.fixture
def client(web: Web, web_key: str) -> Client:
    return Client(web, web_key)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def rss_bytes(pid: int) -> int:
    """The most that the process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def with_source(text: bytes) -> bytes:
    return b'{"runtime": "python", "source": "' + text + b'"}'


MALFORMED = {
    "empty": (b"", "malformed"),
    "not JSON": (b"{", "malformed"),
    "two values": (b"{} {}", "malformed"),
    "a list": (b"[]", "malformed"),
    "a string": (b'"x"', "malformed"),
    "null": (b"null", "malformed"),
    "NaN": (b'{"runtime": NaN}', "malformed"),
    "Infinity": (b'{"limits": {"cpu_time_ms": -Infinity}}', "malformed"),
    "huge float": (b'{"limits": {"cpu_time_ms": 1e999}}', "invalid"),
    "BOM": (b"\xef\xbb\xbf{}", "malformed"),
    "UTF-16": ("{}".encode("utf-16"), "malformed"),
    "bad UTF-8": (with_source(b"\xff"), "malformed"),
    "raw control character": (with_source(b"\0"), "malformed"),
    "a name twice": (b'{"runtime": "python", "runtime": "c"}', "malformed"),
    "lone surrogate": (with_source(b"\\ud800"), "invalid"),
    "lone surrogate name": (b'{"\\ud800": 1}', "invalid"),
    "NUL in a name": (b'{"runtime": "\\u0000", "source": ""}', "invalid"),
    "1e5 digits": (
        b'{"limits": {"cpu_time_ms": ' + b"9" * 100_000 + b"}}",
        "malformed",
    ),
    "1e5 digits of a float": (
        b'{"limits": {"cpu_time_ms": 0.' + b"9" * 100_000 + b"}}",
        "invalid",
    ),
    "10000 deep lists": (b"[" * 10_000 + b"]" * 10_000, "malformed"),
    "10000 deep objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "malformed"),
    "10000 open lists": (b"[" * 10_000, "malformed"),
    "1e6 items": (b'{"args": [' + b"1," * 1_000_000 + b"1]}", "limit_exceeded"),
    "1e6 lists": (b"[" + b"[]," * 1_000_000 + b"1]", "limit_exceeded"),
    "1e5 fields": (
        b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
        "limit_exceeded",
    ),
    "9000 fields": (
        b"{" + b",".join(b'"%d":1' % n for n in range(9_000)) + b"}",
        "invalid",
    ),
    "2 MB in one field": (with_source(b"x" * 2_000_000), "limit_exceeded"),
    "quotes": (with_source(b'\\"' * 1_100_000), "limit_exceeded"),
    "open string": (b'{"a": "' + b"\\\\" * 1_000_000, "malformed"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_body_is_refused_cheaply(client: Client, name: str) -> None:
    body, code = MALFORMED[name]
    pid = client.web.worker_pid()
    client.send(b"{}")
    cpu_before, rss_before = cpu_s(pid), rss_bytes(pid)
    status, answer = client.send(body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert cpu_s(pid) - cpu_before < 2
    assert rss_bytes(pid) - rss_before < 100 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content_Type": ""}, 415, "unsupported_media_type"),
        (
            {"Content_Type": "application/x-www-form-urlencoded"},
            415,
            "unsupported_media_type",
        ),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 415, None),
        ({"Content_Type": "application/json; charset=latin-1"}, 415, None),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Host": "evil.example.org"}, 400, "bad_request"),
        ({"Host": "a b"}, 400, "bad_request"),
        ({"X_HTTP_Method_Override": "DELETE"}, 201, None),
        ({"Accept": "text/html"}, 201, None),
        ({"Accept": "nonsense;;;"}, 201, None),
        ({"Content_Type": "application/json; charset=UTF-8"}, 201, None),
    ],
)
def test_headers_are_minded(
    client: Client, headers: dict[str, str], status: int, code: str | None
) -> None:
    got, answer = client.send(json.dumps(HELLO).encode(), **headers)
    assert got == status
    assert code is None or answer["error"]["code"] == code


def test_a_compressed_bomb_is_not_opened(client: Client) -> None:
    bomb = gzip.compress(b"0" * (100 * MIB))
    assert client.send(bomb, Content_Encoding="gzip")[0] == 415


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "BREW"])
@pytest.mark.parametrize("path", [PATH, "/api/v1/limits", "/api/health/", "/api/none"])
def test_other_methods_are_harmless(client: Client, method: str, path: str) -> None:
    status, answer = client.send(b"", method, path)
    allowed = {"HEAD": (200, 404), "OPTIONS": (204, 404)}
    assert status in allowed.get(method, (404, 405))
    assert status < 400 or method == "HEAD" or answer["error"]["request_id"]


@pytest.mark.parametrize(
    "path", ["/api/none", "/api/v1/executions/x", "/api/v1/%00", "/api/v1/executions//"]
)
def test_unknown_paths_answer_in_the_envelope(client: Client, path: str) -> None:
    status, answer = client.send(b"", "GET", path)
    assert (status, answer["error"]["code"]) == (404, "not_found")


def test_a_large_body_is_refused_unread(client: Client) -> None:
    pid = client.web.worker_pid()
    before = rss_bytes(pid)
    with socket.create_connection(("127.0.0.1", client.web.port), timeout=10) as sock:
        sock.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {100 * MIB}\r\n\r\n".encode()
        )
        answer = sock.recv(65536)
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b'"body_too_large"' in answer
    assert rss_bytes(pid) - before < 100 * MIB


def test_an_endless_chunked_body_is_refused(client: Client) -> None:
    pid = client.web.worker_pid()
    before = rss_bytes(pid)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked"
    with socket.create_connection(("127.0.0.1", client.web.port), timeout=10) as sock:
        sock.sendall(head.encode() + b"\r\n\r\n")
        for _ in range(80):
            sock.sendall(chunk)
        assert b" 413 " in sock.recv(65536).split(b"\r\n")[0]
    assert rss_bytes(pid) - before < 100 * MIB


@pytest.fixture
def slow_web(tmp_path: Path) -> Iterator[Web]:
    web = Web(
        tmp_path,
        REQUEST_HEAD_TIMEOUT_S="1.5",
        REQUEST_BODY_TIMEOUT_S="1.5",
        WEB_MAX_WAITERS="2",
        WEB_SPARE_THREADS="2",
    )
    web.manage("migrate", "--verbosity", "0")
    with web.command:
        yield web


SLOW_STARTS: dict[str, Callable[[int], bytes]] = {
    "head": lambda _: b"GET /api/health/ HTTP/1.1\r\nX-",
    "body": lambda n: (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {n}\r\n\r\n"
    ).encode(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SLOW_STARTS)
def test_slow_clients_harm_nobody_and_are_cut_off(slow_web: Web, kind: str) -> None:
    """A hundred of them, on a server of four threads."""
    address = ("127.0.0.1", slow_web.port)
    slow = [socket.create_connection(address, timeout=30) for _ in range(100)]
    for sock in slow:
        sock.sendall(SLOW_STARTS[kind](1000))
    is_over = threading.Event()

    def drip() -> None:
        while not is_over.wait(0.5):
            for sock in slow:
                try:
                    sock.send(b"1")
                except OSError:
                    continue

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        durations = sorted(_probe(slow_web) for _ in range(40))
        answers = [sock.recv(65536) for sock in slow]
    finally:
        is_over.set()
        dripping.join()
        for sock in slow:
            sock.close()
    assert durations[-3] < 1
    assert all(b" 408 " in answer.split(b"\r\n")[0] for answer in answers)


def _probe(web: Web) -> float:
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    connection.request("GET", "/api/v1/limits")
    assert connection.getresponse().status == 401
    connection.close()
    return time.perf_counter() - began


@pytest.mark.slow
def test_without_the_database_the_answer_is_503(tmp_path: Path) -> None:
    nowhere = "postgres://nobody@127.0.0.1:1/none"
    web = Web(tmp_path, DATABASE_URL=nowhere, DATABASE_CONNECT_TIMEOUT_S="1")
    with web.command:
        client = Client(web, "cp_" + "x" * 43)
        status, answer = client.send(json.dumps(HELLO).encode())
        ready_status, ready = client.send(b"", "GET", "/api/ready/")
        health_status, _ = client.send(b"", "GET", "/api/health/")
        page_status, _ = _page(web, "/accounts/login/", "sessionid=" + "x" * 32)
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert (ready_status, ready["parts"]["database"]["ok"]) == (503, False)
    assert health_status == 200
    assert page_status == 503


def _page(web: Web, path: str, cookie: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content
