"""The cast, and executions in any state, for the tests of pages and admin."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from executions import channel
from executions.limits import Limits
from executions.models import Execution
from executions.sandbox.jailpool import Config
from executions.sandbox.jails import JailBackend
from executions.worker import Worker

PASSWORD = "correct horse battery"
MakeExecution = Callable[..., Execution]


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """The usual hash takes most of a second on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner", password=PASSWORD)


@pytest.fixture
def stranger(db: None) -> User:
    return User.objects.create_user("stranger", password=PASSWORD)


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff", password=PASSWORD)


@pytest.fixture
def page(owner: User) -> Client:
    """A browser without JavaScript in which the owner is logged in."""
    return log_in(owner)


def stored_file(path: str, content: bytes) -> dict[str, str]:
    return {"path": path, "content": base64.b64encode(content).decode()}


def stage(**facts: Any) -> dict[str, Any]:
    """Return what a row keeps of one stage that went well."""
    usual = {
        "end": "exited",
        "exit_code": 0,
        "signal": None,
        "cpu_time_ms": 12,
        "wall_time_ms": 15,
        "memory_peak_bytes": 9_000_000,
        "measured_by": "cgroup",
    }
    return {**usual, **facts}


@pytest.fixture
def make_execution(owner: User) -> MakeExecution:
    """Store an execution; what is not named is that of a finished hello."""

    def make(**fields: Any) -> Execution:
        status = fields.get("status", "finished")
        usual: dict[str, Any] = {
            "owner": owner,
            "runtime": "python",
            "entry_point": "main.py",
            "files": [stored_file("main.py", b"print('hello')\n")],
            "limits": Limits().as_dict(),
            "compile_limits": Limits().as_dict(),
            "status": status,
        }
        if status == "finished":
            usual |= {
                "verdict": "ok",
                "result": {"compile": None, "run": stage()},
                "started_at": timezone.now(),
                "recorded_at": timezone.now(),
                "sent_ms": 3,
                "ended_ms": 20,
            }
        execution = Execution.objects.create(**{**usual, **fields})
        execution.refresh_from_db()
        return execution

    return make


# A real browser, a real server, real jails (for tests marked `page`) ------------------

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 30_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The installed Chromium, without a window."""
    path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert path, f"none of {', '.join(CHROMIUM_NAMES)} is installed"
    # Playwright runs an event loop on this thread, which Django takes for async code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(CHROMIUM_ARGUMENTS)
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def jails() -> Iterator[JailBackend]:
    with tempfile.TemporaryDirectory(prefix="page-state-") as state:
        backend = JailBackend(state, Config(warm={"": 1}, linger_s=1))
        yield backend
        backend.close()


@pytest.fixture
def address(live_server: LiveServer, jails: JailBackend) -> Iterator[str]:
    """The address of a server whose executions run in jails."""
    worker = Worker(jails, channel.current())
    worker.start()
    is_over = threading.Event()

    def work() -> None:
        # In place of the bell, which is not what these tests are about.
        while not is_over.wait(0.02):
            worker.work()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield live_server.url
    is_over.set()
    worker.stop()
    for thread in threads:
        thread.join()
    worker.close()


@dataclass
class Visitor:
    """One person's browser tab. The console's errors end up in `complaints`."""

    tab: Page
    address: str
    complaints: list[str]

    def open(self, path: str) -> None:
        self.tab.goto(self.address + path)

    def log_in(self, username: str) -> None:
        self.open("/accounts/login/")
        self.tab.fill("[name=username]", username)
        self.tab.fill("[name=password]", PASSWORD)
        self.tab.click("main button[type=submit]")
        self.tab.wait_for_url(f"{self.address}/")

    def enter(self, user: User) -> None:
        """Open the editor with a session made without the log-in page."""
        value = log_in(user).cookies["sessionid"].value
        self.tab.context.add_cookies(
            [{"name": "sessionid", "value": value, "url": self.address}]
        )
        self.open("/")

    def write(self, source: str) -> None:
        self.tab.fill("#id_source", source)

    def run(self, source: str) -> str:
        """Write a program, press Run, and return the result's text."""
        self.write(source)
        self.tab.click("#run")
        return self.result()

    def result(self) -> str:
        # Run can be pressed again only once its result is there.
        expect(self.tab.locator("#run")).to_be_enabled(timeout=PATIENCE_MS)
        return self.tab.inner_text("[data-result][data-final=true]")


@pytest.fixture
def visit(
    chromium: Browser, address: str, owner: User
) -> Iterator[Callable[..., Visitor]]:
    """Return a function that opens a fresh browser window, with nobody logged in."""
    contexts: list[BrowserContext] = []

    def start(**options: Any) -> Visitor:
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        tab = context.new_page()
        complaints: list[str] = []

        def hear(message: ConsoleMessage) -> None:
            if message.type == "error":
                complaints.append(message.text)

        tab.on("console", hear)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        return Visitor(tab, address, complaints)

    yield start
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(visit: Callable[..., Visitor], owner: User) -> Visitor:
    """The owner, logged in."""
    person = visit()
    person.enter(owner)
    return person
