"""The web server: requests are received whole by one loop, then answered by threads.

A slow client therefore costs a socket and a buffer, never a thread: headers, body and
answer each have a deadline of their own, counted in all and not per byte. A request
that waits for a program does hold a thread, and nothing else. The same server runs
under gunicorn (see gunicorn.conf.py) and inside `manage.py serve`; why is told in
docs/adr/0003-web-server.md. Parsing and answering HTTP are gunicorn's.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from typing import Any, cast

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.workers import base

from executions.api.envelope import CODES, RETRY_AFTER_S, envelope
from platform_site import garbage, request_ids

logger = logging.getLogger(__name__)

Application = Callable[..., Iterable[bytes]]

RECEIVE_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_CHUNK_LINE_BYTES = 4 * 1024
TICK_S = 0.25
# What a refused client may still be sending, so that it gets to read the answer.
LINGER_S = 2.0
SPARE_DESCRIPTORS = 200

CONTENT_LENGTH = re.compile(
    rb"\r\ncontent-length[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE
)
TRANSFER_ENCODING = re.compile(
    rb"\r\ntransfer-encoding[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE
)
EXPECT_CONTINUE = re.compile(rb"\r\nexpect[ \t]*:[ \t]*100-continue", re.IGNORECASE)
# Until the next event, so that nobody needs to take the socket out while it answers.
ONCE = select.EPOLLIN | select.EPOLLONESHOT
REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds of one server; see docs/settings.md for those that can be set."""

    max_body_bytes: int = 4 * 1024 * 1024
    max_buffered_bytes: int = 48 * 1024 * 1024
    max_connections: int = 2_000
    max_threads: int = 1_100
    head_timeout_s: float = 10.0
    body_timeout_s: float = 20.0
    write_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    stop_timeout_s: float = 30.0


class _Refused(Exception):
    """The bytes received so far cannot become a request; `code` as in the API."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Chunks:
    """Takes a body in chunks apart, as far as it is there."""

    left: int = 0
    in_trailer: bool = False
    body: bytearray = field(default_factory=bytearray)

    def feed(self, buffer: bytearray, max_bytes: int) -> bool:
        """Move what is complete from `buffer` to `body`; tell whether that is all."""
        while buffer:
            if self.left > 0:
                self._take_data(buffer)
                continue
            end = buffer.find(b"\r\n")
            if end < 0 or end > MAX_CHUNK_LINE_BYTES:
                if len(buffer) > MAX_CHUNK_LINE_BYTES:
                    raise _Refused("bad_request")
                return False
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self.in_trailer:
                if not line:
                    return True
                continue
            self._begin(line, max_bytes)
        return False

    def _begin(self, line: bytes, max_bytes: int) -> None:
        if not line and self.left < 0:
            # The end of the line that closes a chunk's data.
            self.left = 0
            return
        size = line.partition(b";")[0].strip()
        if self.left < 0 or not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise _Refused("bad_request")
        self.left = int(size, 16)
        self.in_trailer = self.left == 0
        if len(self.body) + self.left > max_bytes:
            raise _Refused("body_too_large")

    def _take_data(self, buffer: bytearray) -> None:
        part = buffer[: self.left]
        self.body += part
        del buffer[: len(part)]
        # -1: the data is complete, its line is not.
        self.left = self.left - len(part) or -1


class _Connection:
    """One client; the loop owns it while it receives, a thread while it answers."""

    __slots__ = (
        "began",
        "buffer",
        "chunks",
        "client",
        "deadline",
        "head",
        "is_refused",
        "length",
        "server",
        "sock",
    )

    def __init__(self, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.buffer = bytearray()
        self.is_refused = False
        self.deadline = 0.0
        self.began = False
        self.forget()

    def forget(self) -> None:
        """Get ready for the next request."""
        self.head = b""
        self.length = 0
        self.chunks: _Chunks | None = None
        self.began = False

    @property
    def held_bytes(self) -> int:
        return len(self.buffer) + (len(self.chunks.body) if self.chunks else 0)


class _Threads:
    """Daemon threads that come when all others are busy, up to a number, and stay."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._count = 0

    def submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            # A job that is still queued has an idle thread reserved already.
            # Or else whoever becomes free next takes it instead of becoming idle.
            if self._idle > 0 or not self._add():
                self._idle -= 1
        self._jobs.put(job)

    def _add(self) -> bool:
        """Start one more thread; False when there are as many as may be."""
        if self._count >= self._maximum:
            return False
        name = f"web-{self._count + 1}"
        try:
            threading.Thread(target=self._run, name=name, daemon=True).start()
        except RuntimeError as error:
            # The system's limit is lower: go on with those that there are.
            if self._count == 0:
                raise
            logger.warning("no more than %d threads: %s", self._count, error)
            self._maximum = self._count
            return False
        self._count += 1
        return True

    def stop(self) -> None:
        for _ in range(self._count):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._idle += 1


class _Output:
    """The socket as gunicorn's Response writes to it: one packet for a small answer."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._sock = sock
        self._timeout_s = timeout_s
        self._held = b""
        self.may_hold = True

    def sendall(self, data: bytes) -> None:
        if self.may_hold and not self._held:
            self._held = data
            return
        self._send(self._held + data if self._held else data)
        self._held = b""
        self.may_hold = False

    # gunicorn announces "100 Continue" with it, which the loop has done already.
    def send(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        if self._held:
            self._send(self._held)
            self._held = b""

    def _send(self, data: bytes) -> None:
        """Send all of it, the timeout being for all and not for each part of it.

        Nearly every answer fits into the socket's buffer, and a timeout that is not
        set saves three system calls, at each of which another thread may take over.
        """
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._sock.settimeout(self._timeout_s)
            self._sock.sendall(memoryview(data)[sent:])
            self._sock.setblocking(False)


class Server:
    """Serves `application` on listening sockets until `stop` is called.

    `run` is the loop and blocks; all methods with an underscore that begin with `_loop`
    belong to its thread.
    """

    def __init__(
        self,
        application: Application,
        listeners: Iterable[socket.socket],
        *,
        options: Options | None = None,
        config: Config | None = None,
    ) -> None:
        self._application = application
        self._listeners = list(listeners)
        self._options = _within_descriptors(options or Options())
        self._config = config or Config()
        self._epoll = select.epoll()
        # What to do when a descriptor has something; the loop's own.
        self._handlers: dict[int, Callable[[], None]] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._returned: queue.SimpleQueue[tuple[_Connection, bool]]
        self._returned = queue.SimpleQueue()
        # In the order in which they began to receive.
        self._receiving: dict[_Connection, None] = {}
        self._answering: set[_Connection] = set()
        # Held where a thread gives a connection back, and where the loop closes one.
        self._moving = threading.Lock()
        self._threads = _Threads(self._options.max_threads)
        self._stop_by: float | None = None

    def run(
        self,
        *,
        heartbeat: Callable[[], None] | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Serve until stopped or not wanted any more, then let requests finish.

        `heartbeat` is called at least every second.
        """
        self._loop_open()
        try:
            next_look = 0.0
            while not self._loop_is_done():
                self._loop_once()
                now = time.monotonic()
                if now >= next_look:
                    next_look = now + TICK_S
                    self._loop_look(now)
                    if heartbeat:
                        heartbeat()
                    if not is_wanted():
                        self.stop()
        finally:
            self._loop_close()

    def stop(self, timeout_s: float | None = None) -> None:
        """Accept nothing more; run() returns when the last request is answered.

        Requests that take longer than `timeout_s` are cut off. From any thread.
        """
        if self._stop_by is None or timeout_s is not None:
            wait_s = self._options.stop_timeout_s if timeout_s is None else timeout_s
            self._stop_by = time.monotonic() + wait_s
            self._wake()

    # The loop ---------------------------------------------------------------------

    def _loop_open(self) -> None:
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._loop_watch(self._wake_read, self._loop_take_back)
        for listener in self._listeners:
            listener.setblocking(False)
            self._loop_watch(listener, partial(self._loop_accept, listener))

    def _loop_watch(
        self,
        sock: socket.socket,
        handler: Callable[[], None],
        events: int = select.EPOLLIN,
    ) -> None:
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock, events)

    def _loop_unwatch(self, sock: socket.socket) -> None:
        self._epoll.unregister(sock)
        del self._handlers[sock.fileno()]

    def _loop_is_done(self) -> bool:
        if self._stop_by is None:
            return False
        return not self._answering or time.monotonic() >= self._stop_by

    def _loop_once(self) -> None:
        for descriptor, _ in self._epoll.poll(TICK_S):
            # One that another handler of this round has closed has none.
            if handler := self._handlers.get(descriptor):
                handler()

    def _loop_look(self, now: float) -> None:
        """Cut off those whose time is over; close what is idle when stopping."""
        if self._stop_by is not None and self._listeners:
            for listener in self._listeners:
                self._loop_unwatch(listener)
                # This process's own; gunicorn's others keep theirs.
                listener.close()
            self._listeners = []
        for connection in list(self._receiving):
            is_over = connection.deadline <= now
            if connection.is_refused or not connection.began:
                if is_over or self._stop_by is not None:
                    self._loop_drop(connection)
            elif is_over:
                self._loop_refuse(connection, "request_timeout")

    def _loop_close(self) -> None:
        for connection in list(self._receiving):
            self._loop_drop(connection)
        for connection in list(self._answering):
            # Whoever still writes to it sees the end.
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._threads.stop()
        with self._moving:
            self._epoll.close()
        self._wake_read.close()

    def _loop_accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError:
            # Another process took it, or it is gone again.
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._is_full():
            # Under many slow clients the slowest one goes.
            with self._moving:
                slowest = next(iter(self._receiving), None)
            self._loop_drop(slowest)
        connection = _Connection(sock, client, listener.getsockname())
        is_refused = self._is_full()
        self._loop_watch(sock, partial(self._loop_read, connection), ONCE)
        self._loop_receive_from(connection)
        if is_refused:
            self._loop_refuse(connection, "unavailable")
            return
        # Its request has often arrived together with it.
        self._loop_read(connection)

    def _is_full(self) -> bool:
        count = len(self._receiving) + len(self._answering)
        return count >= self._options.max_connections

    def _loop_receive_from(self, connection: _Connection) -> None:
        connection.deadline = time.monotonic() + self._options.head_timeout_s
        self._receiving[connection] = None

    def _loop_read(self, connection: _Connection) -> None:
        if connection not in self._receiving:
            # It came with its connection, and is being answered already.
            return
        try:
            data = connection.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            pass
        except OSError:
            self._loop_drop(connection)
        else:
            self._loop_take(connection, data)
        if connection in self._receiving:
            self._epoll.modify(connection.sock, ONCE)

    def _loop_take(self, connection: _Connection, data: bytes) -> None:
        if not data:
            self._loop_drop(connection)
        elif not connection.is_refused:
            connection.buffer += data
            self._loop_advance(connection)

    def _loop_advance(self, connection: _Connection) -> None:
        """Go as far as the received bytes allow: head, body, thread."""
        try:
            if not connection.head and not self._loop_take_head(connection):
                return
            body = self._take_body(connection)
        except _Refused as refused:
            self._loop_refuse(connection, refused.code)
            return
        if body is not None:
            self._loop_hand_over(connection, body)
        elif connection.held_bytes > RECEIVE_BYTES and self._is_overfull():
            self._loop_refuse(connection, "unavailable")

    def _loop_take_head(self, connection: _Connection) -> bool:
        buffer = connection.buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
        if buffer and not connection.began:
            connection.began = True
            connection.deadline = time.monotonic() + self._options.head_timeout_s
        end = buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(buffer) > MAX_HEAD_BYTES):
            raise _Refused("headers_too_large")
        if end < 0:
            return False
        connection.head = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._frame(connection)
        connection.deadline = time.monotonic() + self._options.body_timeout_s
        has_all = connection.chunks is None and len(buffer) >= connection.length
        if not has_all and EXPECT_CONTINUE.search(connection.head):
            with contextlib.suppress(OSError):
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _frame(self, connection: _Connection) -> None:
        """Find out where the body ends; what is ambiguous is refused."""
        head = connection.head
        lengths = CONTENT_LENGTH.findall(head)
        codings = TRANSFER_ENCODING.findall(head)
        if codings:
            if lengths or [c.strip().lower() for c in codings] != [b"chunked"]:
                raise _Refused("bad_request")
            connection.chunks = _Chunks()
        elif lengths:
            if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}[ \t]*", lengths[0]):
                raise _Refused("bad_request")
            connection.length = int(lengths[0])
            if connection.length > self._options.max_body_bytes:
                raise _Refused("body_too_large")

    def _take_body(self, connection: _Connection) -> bytes | None:
        buffer = connection.buffer
        if connection.chunks is not None:
            maximum = self._options.max_body_bytes
            is_whole = connection.chunks.feed(buffer, maximum)
            return bytes(connection.chunks.body) if is_whole else None
        if len(buffer) < connection.length:
            return None
        body = bytes(buffer[: connection.length])
        del buffer[: connection.length]
        return body

    def _is_overfull(self) -> bool:
        held = sum(connection.held_bytes for connection in list(self._receiving))
        return held > self._options.max_buffered_bytes

    def _loop_hand_over(self, connection: _Connection, body: bytes) -> None:
        del self._receiving[connection]
        self._answering.add(connection)
        head = connection.head
        is_chunked = connection.chunks is not None
        connection.forget()
        self._threads.submit(
            partial(self._answer, connection, head, body, is_chunked=is_chunked)
        )

    def _loop_take_back(self) -> None:
        """Take what threads could not give back by themselves."""
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass
        while not self._returned.empty():
            connection, is_kept = self._returned.get()
            self._answering.discard(connection)
            self._loop_receive_from(connection)
            if not is_kept or self._stop_by is not None:
                self._loop_drop(connection)
            else:
                # Its next request came together with the one before.
                connection.deadline = time.monotonic() + self._options.idle_timeout_s
                self._loop_advance(connection)
                if connection in self._receiving:
                    self._epoll.modify(connection.sock, ONCE)

    def _loop_refuse(self, connection: _Connection, code: str) -> None:
        """Answer without a thread, and listen on for a moment: a client that is still
        sending would lose the answer to a reset."""
        connection.is_refused = True
        connection.buffer.clear()
        connection.forget()
        connection.deadline = time.monotonic() + LINGER_S
        with contextlib.suppress(OSError):
            connection.sock.send(_refusal(code))
            connection.sock.shutdown(socket.SHUT_WR)

    def _loop_drop(self, connection: _Connection | None) -> None:
        # It may be gone already: one round of events can tell of it twice.
        with self._moving:
            if connection is not None and connection in self._receiving:
                del self._receiving[connection]
                self._loop_unwatch(connection.sock)
                connection.sock.close()

    def _wake(self) -> None:
        # Full means that it will wake anyway; closed, that nobody is there to wake.
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    # The threads ------------------------------------------------------------------

    def _answer(
        self, connection: _Connection, head: bytes, body: bytes, *, is_chunked: bool
    ) -> None:
        is_kept = False
        try:
            is_kept = self._answer_one(connection, head, body, is_chunked=is_chunked)
        except OSError as error:
            logger.debug("a client went away: %s", error)
        except Exception:
            logger.exception("a request failed outside of the application")
        finally:
            self._give_back(connection, is_kept=is_kept)

    def _give_back(self, connection: _Connection, *, is_kept: bool) -> None:
        """Have the loop receive the next request, or close.

        It is not woken up for a connection that is merely idle from now on: that took
        seven system calls for each request, and the loop's thread a turn.
        """
        with self._moving:
            if is_kept and not connection.buffer and self._stop_by is None:
                connection.deadline = time.monotonic() + self._options.idle_timeout_s
                self._answering.discard(connection)
                self._receiving[connection] = None
                self._epoll.modify(connection.sock, ONCE)
                return
        self._returned.put((connection, is_kept))
        self._wake()

    def _answer_one(
        self, connection: _Connection, head: bytes, body: bytes, *, is_chunked: bool
    ) -> bool:
        """Answer one request; tell whether the connection may carry another."""
        output = _Output(connection.sock, self._options.write_timeout_s)
        try:
            parser = RequestParser(self._config, iter([head]), connection.client)
            request = next(parser)
        except (LimitRequestHeaders, LimitRequestLine):
            return self._answer_refusal(output, "headers_too_large")
        except (ParseException, StopIteration):
            return self._answer_refusal(output, "bad_request")
        response, environ = wsgi.create(
            request,
            cast(socket.socket, output),
            connection.client,
            connection.server,
            self._config,
        )
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = BytesIO(body)
        if is_chunked:
            environ["CONTENT_LENGTH"] = str(len(body))
        self._respond(environ, response, output)
        return not response.should_close()

    def _respond(self, environ: Any, response: Any, output: _Output) -> None:
        try:
            parts = self._application(environ, response.start_response)
        except Exception:
            logger.exception("the application failed")
            output.sendall(_refusal("internal"))
            output.flush()
            response.force_close()
            return
        if self._stop_by is not None:
            response.force_close()
        try:
            output.may_hold = response.response_length is not None
            for part in parts:
                response.write(part)
            response.close()
            output.flush()
        finally:
            if close := getattr(parts, "close", None):
                close()

    def _answer_refusal(self, output: _Output, code: str) -> bool:
        output.sendall(_refusal(code))
        output.flush()
        return False


def _within_descriptors(options: Options) -> Options:
    """Raise the limit of open files as far as allowed, and stay below it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.max_connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            fewer = max(10, allowed - SPARE_DESCRIPTORS)
            return replace(options, max_connections=fewer)
    return options


def _refusal(code: str) -> bytes:
    """Return a whole HTTP answer with the API's error envelope."""
    request_id = request_ids.begin(None)
    status = CODES[code]
    content = json.dumps(envelope(code)).encode()
    request_ids.end()
    logger.info("answered %d %s [%s]", status, code, request_id)
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"X-Request-ID: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status == CODES["unavailable"]:
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode() + content


# Under gunicorn, and inside `serve` ---------------------------------------------


class Worker(base.Worker):
    """gunicorn's worker class: its processes, sockets and signals around our server."""

    def run(self) -> None:
        bounds = replace(options(), stop_timeout_s=self.cfg.graceful_timeout)
        server = Server(self.wsgi, self.sockets, options=bounds, config=self.cfg)
        garbage.settle()
        server.run(
            heartbeat=self.notify,
            is_wanted=lambda: self.alive and self.ppid == os.getppid(),
        )


class InProcess:
    """A server on a thread of this process."""

    def __init__(self, server: Server, address: tuple[str, int]) -> None:
        self._server = server
        self.address = address
        self._thread = threading.Thread(target=server.run, name="web", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Accept nothing more; cut off what takes longer than `timeout_s`."""
        self._server.stop(timeout_s)
        self._thread.join(timeout_s + 5.0)


def serve_in_process(
    host: str,
    port: int,
    ready: Callable[[str, int], None] | None = None,
    *,
    application: Application | None = None,
) -> InProcess:
    """Serve on this address from a thread; port 0 takes a free one.

    Calls `ready` with the address as soon as connections are accepted. Raises OSError
    when the address is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    if application is None:
        from platform_site.wsgi import application as ours  # noqa: PLC0415 - needs Django

        application = ours
    server = Server(application, [listener], options=options())
    bound = listener.getsockname()
    running = InProcess(server, (host, bound[1]))
    if ready is not None:
        ready(host, bound[1])
    return running


def options() -> Options:
    """Return the bounds that the settings ask for."""
    from django.conf import settings  # noqa: PLC0415 - gunicorn reads this module first

    return Options(
        max_body_bytes=settings.REQUEST_MAX_BODY_BYTES,
        max_connections=settings.WEB_MAX_CONNECTIONS,
        max_threads=settings.WEB_MAX_WAITERS + settings.WEB_SPARE_THREADS,
        head_timeout_s=settings.REQUEST_HEAD_TIMEOUT_S,
        body_timeout_s=settings.REQUEST_BODY_TIMEOUT_S,
    )
