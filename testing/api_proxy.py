"""A proxy in front of a Kubernetes API server that misbehaves as a test tells it to.

It speaks plain HTTP to whom `kubeconfig` is given, and with the rights of KUBECONFIG to
the server. Faults hold for all who speak through it, from any thread, until changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml
from kubernetes import client, config

_TIMEOUT_S: Final = 60.0
_PART_BYTES: Final = 65536
_HOP: Final = frozenset(("transfer-encoding", "connection", "content-length", "host"))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: `verb` is create, get, delete, list or watch."""

    verb: str
    path: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the proxy's own; `is_late` when the server is asked first."""

    status: int
    reason: str = ""
    message: str = "injected"
    headers: tuple[tuple[str, str], ...] = ()
    is_late: bool = False


@dataclass(slots=True)
class Faults:
    """What goes wrong at the moment; all of it may be changed while in use.

    `refuse` may return an answer to give instead. While `is_down`, connections are
    closed; while `is_stalled`, watches deliver nothing and are not ended. `hold_s` says
    for how long the answer to a call is held back, which the server has obeyed.
    """

    refuse: Callable[[Request], Refusal | None] = lambda _: None
    hold_s: Callable[[Request], float] = lambda _: 0.0
    is_down: bool = False
    is_stalled: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.refuse = lambda _: None
        self.hold_s = lambda _: 0.0
        self.is_down = self.is_stalled = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away: faults are why we are here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class ApiProxy:
    """The running proxy; `kubeconfig` is the path of a file that leads to it."""

    def __init__(self) -> None:
        settings = client.Configuration()
        config.load_kube_config(client_configuration=settings)
        self.faults = Faults()
        self._upstream = urlsplit(settings.host)
        self._tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            self._tls.load_cert_chain(settings.cert_file, settings.key_file)
        self._token = settings.api_key.get("authorization", "")
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._folder = tempfile.TemporaryDirectory(prefix="api-proxy-")
        self.kubeconfig = str(Path(self._folder.name, "kubeconfig"))
        Path(self.kubeconfig).write_text(yaml.safe_dump(self._config()))

    def _config(self) -> dict[str, Any]:
        host, port = self._server.server_address[:2]
        url = f"http://{host!s}:{port}"
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [
                {"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}
            ],
        }

    def __enter__(self) -> ApiProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def connect(self) -> HTTPConnection:
        host, port = self._upstream.hostname or "", self._upstream.port
        return HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._tls)

    def headers(self) -> dict[str, str]:
        return {"Authorization": self._token} if self._token else {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(_Handler):
            def __init__(self, *arguments: Any) -> None:
                self.proxy = proxy
                super().__init__(*arguments)

        return Handler


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    proxy: ApiProxy

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        faults = self.proxy.faults
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        request = Request(self._verb(), self.path)
        faults.calls[request.verb] += 1
        if faults.is_down:
            self.close_connection = True
            return
        refusal = faults.refuse(request)
        if refusal is not None and not refusal.is_late:
            self._refuse(refusal)
            return
        with contextlib.suppress(OSError), contextlib.closing(self._ask(body)) as made:
            answer = made.getresponse()
            if refusal is not None:
                answer.read()
                self._refuse(refusal)
            elif request.verb == "watch":
                self._stream(answer)
            else:
                told = answer.read()
                self._hold(request)
                self._answer(answer.status, answer.getheaders(), told)

    def _hold(self, request: Request) -> None:
        began = time.monotonic()
        while time.monotonic() - began < self.proxy.faults.hold_s(request):
            time.sleep(0.05)

    def _verb(self) -> str:
        is_one = not urlsplit(self.path).path.endswith("/pods")
        if self.command == "GET":
            if "watch=True" in self.path or "watch=true" in self.path:
                return "watch"
            return "get" if is_one else "list"
        return {"POST": "create", "DELETE": "delete"}[self.command]

    def _ask(self, body: bytes | None) -> HTTPConnection:
        connection = self.proxy.connect()
        sent = {n: v for n, v in self.headers.items() if n.lower() not in _HOP}
        connection.request(
            self.command, self.path, body, {**sent, **self.proxy.headers()}
        )
        return connection

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, refusal: Refusal) -> None:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": refusal.status,
            "reason": refusal.reason,
            "message": refusal.message,
        }
        headers = [("Content-Type", "application/json"), *refusal.headers]
        self._answer(refusal.status, headers, json.dumps(status).encode())

    def _stream(self, answer: Any) -> None:
        """Pass on what comes, as it comes, until a fault or an end."""
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in self._parts(answer):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        if self.proxy.faults.is_down:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _parts(self, answer: Any) -> Iterator[bytes]:
        faults = self.proxy.faults
        while part := answer.read1(_PART_BYTES):
            while faults.is_stalled and not faults.is_down:
                time.sleep(0.05)
            if faults.is_down:
                return
            yield part


@contextlib.contextmanager
def through_a_proxy() -> Iterator[ApiProxy]:
    """Let this process, and what it starts, speak through a proxy."""
    before = os.environ["KUBECONFIG"]
    with ApiProxy() as proxy:
        os.environ["KUBECONFIG"] = proxy.kubeconfig
        try:
            yield proxy
        finally:
            os.environ["KUBECONFIG"] = before
