"""Start the server on this machine and run a first program through it.

Migrates the local database, makes an administrator `local` with an API key (kept in
var/, readable by its owner alone), starts `manage.py serve`, sends a program over HTTP
and prints what came back and where the server is. Serves until Ctrl-C; with --once ends
after the first program.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.test import delegated

ROOT = Path(__file__).resolve().parents[1]
VAR = Path(os.environ.get("VAR_DIR", ROOT / "var"))
USER = "local"
FIRST_PROGRAM = 'print("Hello from", __import__("platform").python_version())'
START_S = 90
STOP_S = 30


@dataclass(frozen=True)
class Credentials:
    """The local user's way in: a password for the page, a key for the API."""

    password: str
    key: str


def manage(*arguments: str, **env: str) -> str:
    """Run a management command; errors go to the terminal, output is returned."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


def credentials() -> Credentials:
    """Return what was made at the first start, and make it if this is the first."""
    path = VAR / "local-user.json"
    if path.exists():
        return Credentials(**json.loads(path.read_text()))
    password = secrets.token_urlsafe(12)
    manage(
        *("createsuperuser", "--noinput", "--username", USER, "--email", ""),
        DJANGO_SUPERUSER_PASSWORD=password,
    )
    key = manage("create_api_key", USER, "--quiet").split()[-1]
    made = Credentials(password=password, key=key)
    VAR.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"password": made.password, "key": made.key}, file)
    return made


def call(url: str, body: Any = None, key: str = "") -> Any:
    """Send one request and return the decoded answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - our own http
    with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310
        return json.load(answer)


def wait_ready(server: subprocess.Popen[bytes], address: str) -> None:
    """Return once programs can be run; exit with the server when it ends instead."""
    end = time.monotonic() + START_S
    while True:
        if server.poll() is not None:
            sys.exit(f"the server ended at its start (exit status {server.returncode})")
        with contextlib.suppress(OSError):
            call(f"{address}/api/ready/")
            return
        if time.monotonic() > end:
            sys.exit(f"the server was not ready within {START_S} s: manage.py doctor")
        time.sleep(0.1)


def run_first_program(address: str, key: str) -> bool:
    body = {"runtime": "python", "source": FIRST_PROGRAM}
    answer = call(f"{address}/api/v1/executions?wait=30", body, key)
    print(f"\nThe first program, through {address}/api/v1/executions:\n")
    print(f"    {FIRST_PROGRAM}\n")
    print(f"    verdict  {answer['verdict']}")
    for line in (answer["run"] or {}).get("stdout", "").splitlines():
        print(f"    stdout   {line}")
    if answer.get("reason"):
        print(f"    reason   {answer['reason']}")
    return bool(answer["verdict"] == "ok")


def introduce(address: str, made: Credentials) -> None:
    print(f"""
Open {address}/ and log in as {USER} with the password {made.password}

Or from a shell:

    curl -s '{address}/api/v1/executions?wait=30' \\
      -H "Authorization: Bearer {made.key}" -H "Content-Type: application/json" \\
      -d '{{"runtime": "python", "source": "print(6 * 7)"}}'

Ctrl-C stops the server.
""")


def free_port(wanted: int) -> int:
    """Return the port wanted, or another when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
            print(f"Port {wanted} is taken; using {probe.getsockname()[1]}.")
        return int(probe.getsockname()[1])


def stop(server: subprocess.Popen[bytes]) -> int:
    """Ask the server to end, as Ctrl-C does, and return its exit status."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
    try:
        return server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def fill_caches() -> subprocess.Popen[bytes]:
    """Let compilers be prepared while the server is in use already; once a machine."""
    command = [sys.executable, "manage.py", "selftest_runtimes", "--only-prepare"]
    return subprocess.Popen(
        ["nice", "-n", "19", *command],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def serve(address: str, port: int, made: Credentials, *, once: bool) -> int:
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    # A session of its own: Ctrl-C reaches it through `stop`, once.
    server = subprocess.Popen(
        [*delegated(), *command], cwd=ROOT, start_new_session=True
    )
    filling = None
    try:
        wait_ready(server, address)
        is_ok = run_first_program(address, made.key)
        if once or not is_ok:
            return int(not is_ok)
        introduce(address, made)
        filling = fill_caches()
        return server.wait()
    except KeyboardInterrupt:
        return 0
    except urllib.error.HTTPError as error:
        print(f"the first program was refused: {error.code} {error.read().decode()}")
        return 1
    finally:
        if filling is not None and filling.poll() is None:
            os.killpg(filling.pid, signal.SIGTERM)
        stop(server)


def main() -> int:
    parser = argparse.ArgumentParser(description="Start the server on this machine.")
    parser.add_argument("--once", action="store_true", help="end after one program")
    parser.add_argument("--port", type=int, default=8002)
    given = parser.parse_args()
    # SIGTERM ends like Ctrl-C, so that no server stays behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    print("Preparing the local database…", flush=True)
    manage("migrate", "--verbosity", "0")
    made = credentials()
    port = free_port(given.port)
    print("Starting the server…", flush=True)
    return serve(f"http://127.0.0.1:{port}", port, made, once=given.once)


if __name__ == "__main__":
    sys.exit(main())
