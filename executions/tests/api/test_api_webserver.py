"""The web server over raw sockets, with a small application behind it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from platform_site.webserver import InProcess, Options, Server

OPTIONS = Options(
    max_body_bytes=1000,
    max_connections=20,
    max_threads=4,
    head_timeout_s=0.5,
    body_timeout_s=0.5,
    idle_timeout_s=0.5,
    write_timeout_s=0.5,
)
LARGE = 50_000_000


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with what arrived; other paths are slow, fail, or answer at length."""
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/slow":
        LET_GO.wait(10)
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("on purpose")
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [("Content-Length", str(LARGE))])
        return [b"x" * LARGE]
    content = json.dumps(
        {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "length": environ.get("CONTENT_LENGTH"),
            "body": body.decode(),
        }
    ).encode()
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


LET_GO = threading.Event()


@pytest.fixture
def server() -> Iterator[InProcess]:
    LET_GO.clear()
    listener = socket.create_server(("127.0.0.1", 0))
    running = InProcess(
        Server(echo, [listener], options=OPTIONS), listener.getsockname()
    )
    yield running
    LET_GO.set()
    running.stop(1)


class Talk:
    """One connection, read answer by answer."""

    def __init__(self, server: InProcess, *parts: bytes) -> None:
        self.sock = socket.create_connection(server.address, timeout=10)
        self.held = b""
        for part in parts:
            self.send(part)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self.held:
            self._receive()
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        parts, left = [self.held[:length]], length - len(self.held)
        self.held = self.held[length:]
        while left > 0:
            data = self.sock.recv(min(left, 1 << 20))
            assert data, f"closed {left} bytes before the end"
            parts.append(data)
            left -= len(data)
        return int(first.split()[1]), headers, b"".join(parts)

    def _receive(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"closed after {self.held!r}"
        self.held += data

    def is_closed(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    lines = [b"POST /p HTTP/1.1", b"Host: x", *(headers or (length,))]
    return b"\r\n".join([*lines, b"", b""]) + body


def test_webserver_answers_and_keeps_the_connection(server: InProcess) -> None:
    talk = Talk(server)
    for number in range(3):
        talk.send(post(b"%d" % number))
        status, headers, body = talk.answer()
        assert (status, headers["connection"]) == (200, "keep-alive")
        assert json.loads(body) == {
            "method": "POST",
            "path": "/p",
            "length": "1",
            "body": str(number),
        }


def test_webserver_answers_requests_sent_at_once(server: InProcess) -> None:
    talk = Talk(server, GET + post(b"x") + GET)
    paths = [json.loads(talk.answer()[2])["path"] for _ in range(3)]
    assert paths == ["/a", "/p", "/a"]


def test_webserver_answers_what_came_while_it_answered(server: InProcess) -> None:
    talk = Talk(server, GET.replace(b"/a", b"/slow"))
    time.sleep(0.1)
    talk.send(GET)
    time.sleep(0.1)
    LET_GO.set()
    assert [json.loads(talk.answer()[2])["path"] for _ in range(2)] == ["/slow", "/a"]


def test_webserver_forgets_who_left_while_it_answered(server: InProcess) -> None:
    talk = Talk(server, GET.replace(b"/a", b"/slow"))
    time.sleep(0.1)
    talk.sock.close()
    LET_GO.set()
    time.sleep(0.2)
    inner = server._server
    assert not inner._answering
    assert not inner._receiving


@pytest.mark.slow
def test_webserver_keeps_many_busy_connections_apart(server: InProcess) -> None:
    problems = []

    def ask(name: int) -> None:
        talk = Talk(server)
        for number in range(60):
            wanted = f"{name} {number}"
            # In one packet or two: both ways give the connection back and forth.
            request = post(wanted.encode())
            for part in (request,) if number % 3 else (request[:20], request[20:]):
                talk.send(part)
            if json.loads(talk.answer()[2])["body"] != wanted:
                problems.append(wanted)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert problems == []


def test_webserver_takes_a_request_byte_by_byte(server: InProcess) -> None:
    talk = Talk(server)
    for byte in post(b"hello"):
        talk.send(bytes([byte]))
    assert json.loads(talk.answer()[2])["body"] == "hello"


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_webserver_puts_chunks_together(server: InProcess, step: int) -> None:
    chunks = b"3\r\nabc\r\n1;x=y\r\nd\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    talk = Talk(server, post(b"", b"Transfer-Encoding: chunked"))
    for start in range(0, len(chunks), step):
        talk.send(chunks[start : start + step])
    told = json.loads(talk.answer()[2])
    assert (told["body"], told["length"]) == ("abcd0123456789", "14")
    talk.send(GET)
    assert talk.answer()[0] == 200


def test_webserver_says_continue(server: InProcess) -> None:
    talk = Talk(server, post(b"", b"Content-Length: 2", b"Expect: 100-continue"))
    assert talk.answer()[0] == 100
    talk.send(b"ok")
    assert json.loads(talk.answer()[2])["body"] == "ok"


def test_webserver_closes_for_http_1_0(server: InProcess) -> None:
    talk = Talk(server, b"GET / HTTP/1.0\r\n\r\n")
    assert talk.answer()[1]["connection"] == "close"
    assert talk.is_closed()


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (post(b"x" * 1001), 413, "body_too_large"),
        (post(b"", b"Content-Length: 99999999999999999"), 413, "body_too_large"),
        (
            post(b"FFFF\r\n" + b"x" * 2000, b"Transfer-Encoding: chunked"),
            413,
            "body_too_large",
        ),
        (post(b"zz\r\n", b"Transfer-Encoding: chunked"), 400, "bad_request"),
        (post(b"-1\r\n", b"Transfer-Encoding: chunked"), 400, "bad_request"),
        (post(b"1\r\nab\r\n", b"Transfer-Encoding: chunked"), 400, "bad_request"),
        (post(b"x", b"Content-Length: x"), 400, "bad_request"),
        (post(b"x", b"Content-Length: -1"), 400, "bad_request"),
        (post(b"x", b"Content-Length: 1", b"Content-Length: 2"), 400, "bad_request"),
        (
            post(b"x", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
            400,
            "bad_request",
        ),
        (post(b"", b"Transfer-Encoding: gzip, chunked"), 400, "bad_request"),
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000, 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431, "headers_too_large"),
        (b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n", 500, "internal"),
    ],
)
def test_webserver_refuses_in_the_envelope(
    server: InProcess, request_bytes: bytes, status: int, code: str
) -> None:
    talk = Talk(server, request_bytes)
    got, headers, body = talk.answer()
    error = json.loads(body)["error"]
    assert (got, error["code"]) == (status, code)
    assert error["request_id"] == headers["x-request-id"]
    assert talk.is_closed()


def test_webserver_refuses_a_large_body_before_it_came(server: InProcess) -> None:
    talk = Talk(server, post(b"", b"Content-Length: 100000000"))
    assert talk.answer()[0] == 413


def test_webserver_lets_a_refused_client_read_why(server: InProcess) -> None:
    """It is still sending when it is answered, and must not be reset for that."""
    talk = Talk(server, post(b"", b"Content-Length: 3000000"))
    talk.send(b"x" * 2_000_000)
    assert talk.answer()[0] == 413


@pytest.mark.parametrize(
    "start",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        post(b"", b"Content-Length: 900"),
        post(b"", b"Transfer-Encoding: chunked"),
    ],
)
def test_webserver_cuts_off_slow_requests(server: InProcess, start: bytes) -> None:
    talk = Talk(server, start)
    stop = threading.Event()

    def drip() -> None:
        # Each byte comes in time; all of them never do.
        while not stop.wait(0.05):
            try:
                talk.send(b"1")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        status, _, body = talk.answer()
    finally:
        stop.set()
        dripping.join()
    assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")


def test_webserver_closes_idle_connections(server: InProcess) -> None:
    silent, done = Talk(server), Talk(server, GET)
    assert done.answer()[0] == 200
    assert silent.is_closed()
    assert done.is_closed()


def test_webserver_serves_others_beside_slow_ones(server: InProcess) -> None:
    """More slow clients than threads and than connections."""
    slow = [Talk(server, post(b"", b"Content-Length: 9")) for _ in range(60)]
    for _ in range(20):
        assert Talk(server, GET).answer()[0] == 200
    del slow


@pytest.mark.slow
def test_webserver_leaves_those_who_do_not_read(server: InProcess) -> None:
    """As many as there are threads; none of them ever takes its answer."""
    deaf = [Talk(server, GET.replace(b"/a", b"/large")) for _ in range(4)]
    assert Talk(server, GET).answer()[0] == 200
    del deaf


def test_webserver_sends_long_answers_whole(server: InProcess) -> None:
    assert len(Talk(server, GET.replace(b"/a", b"/large")).answer()[2]) == LARGE


def test_webserver_queues_when_all_threads_are_busy(server: InProcess) -> None:
    slow = [Talk(server, GET.replace(b"/a", b"/slow")) for _ in range(4)]
    waiting = Talk(server, GET)
    waiting.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting.answer()
    waiting.sock.settimeout(10)
    LET_GO.set()
    assert [talk.answer()[0] for talk in (waiting, *slow)] == [200] * 5


def test_webserver_goes_on_with_the_threads_that_the_system_allows(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def start_two(thread: threading.Thread) -> None:
        if thread.name == "web-3":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    talks = [Talk(server, GET.replace(b"/a", b"/slow")) for _ in range(2)]
    talks += [Talk(server, GET) for _ in range(3)]
    time.sleep(0.2)  # for all of them to arrive
    LET_GO.set()
    assert [talk.answer()[0] for talk in talks] == [200] * 5


def test_webserver_finishes_what_it_began_when_stopped(server: InProcess) -> None:
    talk, idle = Talk(server, GET.replace(b"/a", b"/slow")), Talk(server, GET)
    assert idle.answer()[0] == 200
    stopping = threading.Thread(target=server.stop, args=(10,))
    stopping.start()
    assert idle.is_closed()
    with pytest.raises(OSError):
        while True:
            socket.create_connection(server.address, timeout=1).close()
            time.sleep(0.01)
    LET_GO.set()
    status, headers, _ = talk.answer()
    assert (status, headers["connection"]) == (200, "close")
    stopping.join(10)
    assert not stopping.is_alive()


def test_webserver_cuts_off_what_takes_too_long_to_stop(server: InProcess) -> None:
    talk = Talk(server, GET.replace(b"/a", b"/slow"))
    Talk(server, GET).answer()
    server.stop(0.1)
    assert talk.is_closed()
