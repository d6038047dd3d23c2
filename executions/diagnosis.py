"""Looks at every part that running a program needs, and says how to get what is not.

Works also where nothing else does: without a database, a broker, rights, toolchains.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db import Error as DatabaseError
from django.db.migrations.executor import MigrationExecutor

from executions import backends, runtimes
from executions.canary import SandboxCheck
from executions.limits import MIB
from executions.runtimes import prepare, probe, selftest
from executions.sandbox.base import (
    Backend,
    Command,
    End,
    RunSpec,
    SandboxError,
)

EXAMINE_TIMEOUT_S = 30.0
LITTLE_SPACE_BYTES = 512 * MIB
OLDEST_PYTHON = (3, 11)


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"  # programs run, but not all of them or not as they should
    MISSING = "missing"  # no program can be run


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part, and what to do when it is not all right."""

    part: str
    state: State
    found: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Look at one part after the other; the sandbox ones may take a second each."""
    yield _python()
    yield _settings()
    database = _database()
    yield database
    is_migrated = False
    if database.state is State.OK:
        migrations = _migrations()
        is_migrated = migrations.state is State.OK
        yield migrations
    yield _broker()
    if settings.SANDBOX_BACKEND == "jail":
        yield _state_folder()
        yield from _examined()
    yield _sandbox()
    if settings.SANDBOX_BACKEND == "kubernetes" and is_migrated:
        yield _canary()
    if settings.SANDBOX_BACKEND in ("jail", "plain"):
        yield _languages()
        yield _prepared()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", State.MISSING, version, "install Python 3.11 or newer")
    return Finding("python", State.OK, version)


def _settings() -> Finding:
    messages = [m for m in checks.run_checks() if m.level >= checks.WARNING]
    errors = [message for message in messages if message.is_serious()]
    for message in errors or messages:
        state = State.MISSING if errors else State.WARNING
        return Finding("settings", state, message.msg, message.hint or "")
    return Finding("settings", State.OK, "consistent")


def _database() -> Finding:
    place = _without_password(os.environ.get("DATABASE_URL", "")) or str(
        settings.DATABASES["default"]["NAME"]
    )
    # Not through the pool: that would only say that it has waited in vain.
    direct = connections[DEFAULT_DB_ALIAS].copy()
    direct.settings_dict["OPTIONS"].pop("pool", None)
    try:
        direct.ensure_connection()
        version = ".".join(map(str, direct.get_database_version()))
    except (DatabaseError, OSError) as error:
        remedy = (
            "start PostgreSQL and check DATABASE_URL"
            if connection.vendor == "postgresql"
            else "let this user write to VAR_DIR"
        )
        found = f"{place} does not answer: {_first_line(error)}"
        return Finding("database", State.MISSING, found, remedy)
    finally:
        direct.close()
    return Finding("database", State.OK, f"{connection.display_name} {version}")


def _migrations() -> Finding:
    executor = MigrationExecutor(connection)
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if waiting:
        found = f"{len(waiting)} not applied"
        return Finding("migrations", State.MISSING, found, "manage.py migrate")
    return Finding("migrations", State.OK, "all applied")


def _broker() -> Finding:
    url = settings.CELERY_BROKER_URL
    if not url.startswith("redis"):
        return Finding("broker", State.OK, "in memory: `serve` runs all in one process")
    import redis  # noqa: PLC0415 - one machine does without

    client = redis.Redis.from_url(
        url,
        socket_connect_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
        socket_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
    )
    try:
        version = client.info("server")["redis_version"]
    except redis.RedisError as error:
        found = f"{_without_password(url)} does not answer: {_first_line(error)}"
        remedy = "start Redis and check CELERY_BROKER_URL"
        return Finding("broker", State.MISSING, found, remedy)
    finally:
        client.close()
    return Finding("broker", State.OK, f"Redis {version}")


def _state_folder() -> Finding:
    folder = Path(settings.SANDBOX_STATE_DIR)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = folder / f".doctor-{os.getpid()}"
        draft.touch()
        draft.unlink()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        found = f"{folder} cannot be written to: {error.strerror}"
        remedy = "choose another SANDBOX_STATE_DIR, or give it to this user"
        return Finding("state folder", State.MISSING, found, remedy)
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        found = f"{folder} belongs to user {owner}"
        remedy = f"run as that user, or: chown -R {os.geteuid()} {folder}"
        return Finding("state folder", State.MISSING, found, remedy)
    if free_bytes < LITTLE_SPACE_BYTES:
        found = f"{folder} has {free_bytes // MIB} MiB left"
        return Finding("state folder", State.WARNING, found, "free some space")
    return Finding("state folder", State.OK, str(folder))


def _examined() -> Iterator[Finding]:
    """Try what jails need of the kernel, each in a process of its own."""
    # Without cgroups the operator may have chosen to run programs all the same.
    unlimited = settings.SANDBOX_ALLOW_UNENFORCED_LIMITS
    cgroup = [settings.SANDBOX_CGROUP] if settings.SANDBOX_CGROUP else []
    for part, arguments, if_missing in (
        ("namespaces", [], State.MISSING),
        ("cgroups", cgroup, State.WARNING if unlimited else State.MISSING),
        ("seccomp", [], State.MISSING),
    ):
        examined = _examine(part, arguments)
        if examined["problem"]:
            yield Finding(part, if_missing, examined["problem"], examined["remedy"])
        else:
            yield Finding(part, State.OK, examined["found"])


def _examine(part: str, arguments: Sequence[str]) -> dict[str, str]:
    command = [sys.executable, "-m", "executions.sandbox.examine", part, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            cwd=settings.BASE_DIR,
            env={"PATH": os.defpath},
            capture_output=True,
            timeout=EXAMINE_TIMEOUT_S,
            check=True,
        )
        examined: dict[str, str] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        problem = f"could not be examined: {''.join(said[-1:])}"
        return {"problem": problem, "remedy": ""}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"problem": f"could not be examined: {error}", "remedy": ""}
    return examined


def _sandbox() -> Finding:
    """Run /bin/true in a sandbox, as the last word on all of the above."""
    try:
        backend = backends.current()
    except ImproperlyConfigured as error:
        remedy = "SANDBOX_BACKEND=jail"
        return Finding("sandbox", State.MISSING, str(error), remedy)
    except SandboxError as error:
        return Finding("sandbox", State.MISSING, str(error), "see docs/kubernetes.md")
    try:
        return _run_true(backend)
    except SandboxError as error:
        problems = backends.problems() or str(error)
        return Finding("sandbox", State.MISSING, problems, "see the parts above")


def _run_true(backend: Backend) -> Finding:
    began = time.monotonic()
    command = Command(("true",), settings.RUN_DEFAULT)
    spec = RunSpec(key=f"doctor-{uuid.uuid4()}", files=(), run=command)
    outcome = selftest.outcome_of(backend, spec)
    took_ms = round((time.monotonic() - began) * 1000)
    (stage,) = outcome.cases
    if stage.end is not End.EXITED or stage.exit_code != 0:
        found = f"a program that does nothing ended so: {stage.end}: {stage.message}"
        return Finding("sandbox", State.MISSING, found)
    if outcome.unenforced:
        found = f"not enforced: {', '.join(outcome.unenforced)}"
        remedy = "run no untrusted programs like this; see cgroups above"
        return Finding("sandbox", State.WARNING, found, remedy)
    return Finding("sandbox", State.OK, f"a program ran in {took_ms} ms")


def _canary() -> Finding:
    """Tell what the last canary found; the program above has waited for the first."""
    remedy = "see docs/kubernetes.md, Canary"
    row = SandboxCheck.objects.here()
    if refusal := row.refusal():
        return Finding("canary", State.MISSING, refusal, remedy)
    told = [f"{name}: {found}" for name, found in row.warnings().items()]
    if row.is_old:
        told.append(f"last proven {row.age_s:.0f} s ago: {row.problem}")
    if told:
        return Finding("canary", State.WARNING, "; ".join(told), remedy)
    return Finding("canary", State.OK, f"{len(row.checks)} checks, in a pod")


def _languages() -> Finding:
    found = probe.probe_all(runtimes.all())
    missing = [each for each in found if not each.is_available]
    count = f"{len(found) - len(missing)} of {len(found)} are there"
    if not missing:
        return Finding("languages", State.OK, count)
    packages = sorted({name for each in missing for name in each.runtime.packages})
    names = ", ".join(each.runtime.key for each in missing)
    state = State.MISSING if len(missing) == len(found) else State.WARNING
    remedy = f"apt-get install --no-install-recommends {' '.join(packages)}"
    return Finding("languages", state, f"{count}; not: {names}", remedy)


def _prepared() -> Finding:
    waiting = prepare.needed(Path(settings.SANDBOX_PREPARED_DIR))
    if waiting:
        names = ", ".join(runtime.label for runtime in waiting)
        found = f"compilers without their caches, slow: {names}"
        remedy = "manage.py selftest_runtimes (fills them)"
        return Finding("caches", State.WARNING, found, remedy)
    return Finding("caches", State.OK, "compilers have theirs")


def _without_password(url: str) -> str:
    """Return a URL as it may be shown: no user, no password, no options."""
    if not url:
        return ""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def can_run(found: Sequence[Finding]) -> bool:
    """Tell whether programs can be run at all."""
    return all(finding.state is not State.MISSING for finding in found)
