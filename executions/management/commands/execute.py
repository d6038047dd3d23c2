"""Runs one file from the shell, through the same services as every other way in.

With the queue in memory this process claims and runs its own row; with Redis it waits
for a worker. Either way the program's output appears live.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import sys
import threading
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from accounts.models import User
from executions import (
    channel,
    rules,
    runtimes,
    services,
    specs,
    terminal,
)
from executions import worker as workers
from executions.api import representation
from executions.channel import ChannelDown
from executions.models import Execution
from executions.worker import Worker
from platform_site import connections

LOOK_S = 2.0
"""How often to look at the row itself, in case that news were lost."""


class Command(BaseCommand):
    help = (
        "Run a program file; exits with the program's own exit code."
        " What follows -- are the program's arguments."
    )

    def run_from_argv(self, argv: list[str]) -> None:
        # argparse would not tell the arguments after -- from a second FILE.
        end = argv.index("--") if "--" in argv else len(argv)
        self._program_args = argv[end + 1 :]
        super().run_from_argv(argv[:end])

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the program; - reads stdin")
        parser.add_argument("--runtime", help="default: by the ending of the file")
        parser.add_argument("--stdin", metavar="FILE", help="its input; - is ours")
        parser.add_argument("--user", help="whose execution it is; default: yours")
        parser.add_argument("--json", action="store_true", help="print the result only")
        parser.add_argument(
            "--raw", action="store_true", help="control characters too, on a terminal"
        )

    def handle(self, *args: str, **options: Any) -> None:
        submission = _submission(options, getattr(self, "_program_args", list(args)))
        if settings.CELERY_BROKER_URL.startswith("memory"):
            run = _run_here
        else:
            run = _wait_for_worker
        screen = None if options["json"] else _screen(is_raw=options["raw"])
        execution = run(_owner(options["user"]), submission, screen)
        if options["json"]:
            self.stdout.write(json.dumps(representation.detail(execution), indent=2))
        elif execution.reason:
            self.stderr.write(terminal.printable(execution.reason), lambda text: text)
        connection.close()
        sys.exit(terminal.exit_code(execution))


def _submission(options: dict[str, Any], args: list[str]) -> specs.Submission:
    data: dict[str, Any] = {
        "runtime": options["runtime"] or _runtime_of(options["file"]),
        "args": args,
    }
    try:
        source = _read(options["file"])
        if options["stdin"]:
            data["stdin_base64"] = base64.b64encode(_read(options["stdin"])).decode()
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
    name = Path(options["file"]).name
    content = base64.b64encode(source).decode()
    if options["file"] == "-" or specs.path_problem(name):
        name = runtimes.get(data["runtime"]).source_name
    data["files"] = [{"path": name, "content": content, "encoding": "base64"}]
    data["entry_point"] = name
    try:
        return specs.validate(data, rules=rules.current())
    except specs.InvalidSubmission as refusal:
        raise CommandError(f"refused: {refusal}") from refusal


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _runtime_of(name: str) -> str:
    ending = Path(name).suffix
    for runtime in runtimes.all():
        if ending and Path(runtime.source_name).suffix == ending:
            return runtime.key
    raise CommandError(f"which runtime is {name} for? Say so with --runtime")


def _owner(name: str | None) -> User:
    """Return the account: the one named, else that of the shell's user, made if new."""
    if name:
        try:
            return User.objects.get(username=name)
        except User.DoesNotExist:
            raise CommandError(f"there is no user {name}") from None
    try:
        own = getpass.getuser()
    except (OSError, KeyError):
        own = f"uid-{os.getuid()}"
    return User.objects.get_or_create(username=own)[0]


def _screen(*, is_raw: bool) -> terminal.Screen:
    def sink(stream: BinaryIO) -> terminal.Sink:
        is_plain = stream.isatty() and not is_raw
        return terminal.Plain(stream) if is_plain else terminal.Raw(stream)

    return terminal.Screen(sink(sys.stdout.buffer), sink(sys.stderr.buffer))


def _run_here(
    owner: User, submission: specs.Submission, screen: terminal.Screen | None
) -> Execution:
    worker = workers.start()
    execution = services.submit(owner=owner, submission=submission)
    threading.Thread(target=_work_on, args=(worker, execution.pk)).start()
    try:
        return _follow(execution.pk, screen)
    finally:
        worker.stop(hands_over=False)
        worker.wait(settings.SERVE_STOP_S)
        worker.close()
        worker.backend.close()


def _work_on(worker: Worker, pk: UUID) -> None:
    worker.work_on(pk)
    connections.end()


def _wait_for_worker(
    owner: User, submission: specs.Submission, screen: terminal.Screen | None
) -> Execution:
    execution = services.submit(owner=owner, submission=submission)
    return _follow(execution.pk, screen)


def _follow(pk: UUID, screen: terminal.Screen | None) -> Execution:
    """Show what the run writes until it is final; Ctrl-C cancels it."""
    cursor = "0"
    execution = Execution.objects.get(pk=pk)
    while not execution.is_final:
        try:
            cursor = _show_news(pk, cursor, screen)
            execution = services.wait(pk, 0.2)
        except KeyboardInterrupt:
            execution = services.cancel(execution)
    if screen is not None:
        screen.show_rest(execution)
    return execution


def _show_news(pk: UUID, cursor: str, screen: terminal.Screen | None) -> str:
    with suppress(ChannelDown):
        for item in channel.current().follow(pk, cursor, LOOK_S):
            cursor = item.cursor or cursor
            if screen and item.kind == "output" and item.fields["stage"] == "run":
                screen.show(
                    str(item.fields["stream"]), int(item.fields["offset"]), item.data
                )
    return cursor
