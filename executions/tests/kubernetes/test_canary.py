"""What a canary finds, and that programs are refused where it finds something."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from kubernetes import client
from pytest_django import Settings

from executions import controller, metrics
from executions.canary import Canary, SandboxCheck
from executions.limits import MIB, Limits
from executions.sandbox import canary, canary_probe
from executions.sandbox.base import (
    End,
    NoSandboxNow,
    Output,
    SandboxDetached,
    SandboxUnavailable,
    StageOutcome,
    always,
)
from executions.sandbox.canary import CHECKS, Check
from executions.sandbox.watch import Seen
from executions.tests.kubernetes.clusters import IMAGE, a_namespace
from executions.tests.kubernetes.conftest import Make
from platform_site.checks import settings_fit_together
from testing.deployment import Deployment
from testing.servers import free_port, wait_until

SCOPE = "pods:here"
SAID = Output(b"the end")
CLOSED = {name: Check(True, "well") for name in CHECKS}
ROOT = Path(__file__).resolve().parents[3]


# --- what the program in the pod finds -----------------------------------------------


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_listener_is_reached(listener: tuple[str, int]) -> None:
    host, port = listener
    ports = [(host, port), (host, free_port())]
    assert canary_probe.reached(ports) == [f"{host}:{port}"]


def test_refusal_counts_where_it_is_asked_for() -> None:
    port = free_port()
    address = ("127.0.0.1", port)
    assert canary_probe.reached([address]) == []
    assert canary_probe.reached([address], refusals=True) == [f"127.0.0.1:{port}"]


def test_api_server_that_is_reached_is_told(
    listener: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", listener[0])
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(listener[1]))
    is_ok, found = canary_probe.api_server({})
    assert (is_ok, found) == (False, "reached {}:{}".format(*listener))


def test_what_was_not_tried_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not canary_probe.api_server({})[0]
    assert not canary_probe.other_pods({"pods": []})[0]


def test_pod_that_is_reached_is_told(listener: tuple[str, int]) -> None:
    assert not canary_probe.other_pods({"pods": [list(listener)]})[0]


def test_name_server_that_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that speaks UDP only, at a port of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setattr(canary_probe, "DNS_PORT", server.getsockname()[1])

        def answer() -> None:
            _, who = server.recvfrom(512)
            server.sendto(b"an answer", who)

        threading.Thread(target=answer, daemon=True).start()
        is_ok, found = canary_probe.cluster_dns({"dns": ["127.0.0.1"]})
    assert not is_ok
    assert found.startswith("reached 127.0.0.1:")


def test_silent_name_server_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_probe, "DNS_PORT", free_port())
    assert canary_probe.cluster_dns({"dns": ["127.0.0.1"]})[0]


def test_disk_without_a_limit_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    is_ok, found = canary_probe.disk_limit({"scratch_bytes": MIB})
    assert (is_ok, found) == (False, "32 MiB were written")
    assert list(tmp_path.iterdir()) == []


def test_disk_limit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of one file's size serves as well: a write fails."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, before[1]))
    try:
        is_ok, found = canary_probe.disk_limit({"scratch_bytes": 64 * MIB})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (is_ok, found) == (True, "8 MiB, then File too large")


def test_missing_process_limit_is_told() -> None:
    is_ok, found = canary_probe.process_limit({"processes": 3})
    assert (is_ok, found) == (False, "4 processes, and 3 are allowed")


def test_user_and_rights_are_those_of_this_process() -> None:
    is_root = 0 in {*os.getresuid(), *os.getresgid(), *os.getgroups()}
    assert canary_probe.root_user({})[0] is not is_root
    status = Path("/proc/self/status").read_text()
    assert canary_probe.seccomp({})[0] is ("Seccomp:\t2" in status)
    # Of a process that may gain privileges by a setuid program.
    assert not canary_probe.capabilities({})[0]


def test_check_that_stumbles_has_failed() -> None:
    is_ok, found = canary_probe.told(canary_probe.process_limit, {})
    assert not is_ok
    assert found == "could not be checked: KeyError('processes')"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "nothing that can be read: the end"),
        (b"[]", "nothing that can be read"),
        (b'{"api_server": 1}', "nothing that can be read"),
        (b'{"api_server": [true, ""]}', "it told nothing of "),
    ],
)
def test_report_that_is_not_whole_is_no_proof(output: bytes, words: str) -> None:
    stage = StageOutcome(End.MEMORY, Limits(), stdout=Output(output), stderr=SAID)
    with pytest.raises(canary.CanaryError, match=words):
        canary._read(stage)


@pytest.mark.parametrize(
    ("fields", "is_ok"),
    [
        ({"end": End.MEMORY}, True),
        ({"end": End.SIGNALLED, "signal": 9}, True),
        ({"end": End.EXITED, "exit_code": 0}, False),
        ({"end": End.EXITED, "exit_code": 1}, False),
    ],
)
def test_memory_is_held_where_the_program_died_of_it(
    fields: dict[str, Any], is_ok: bool
) -> None:
    assert canary._memory(StageOutcome(limits=Limits(), **fields)).is_ok is is_ok


def test_program_that_was_ended_by_something_else_proves_nothing() -> None:
    with pytest.raises(canary.CanaryError, match="wall_time"):
        canary._memory(StageOutcome(End.WALL_TIME, Limits()))


# --- what follows from it -----------------------------------------------------------


def a_row(**checks: Check) -> SandboxCheck:
    """Return the row of a canary that found these, and all else well."""
    row = SandboxCheck.objects.of(SCOPE, "a")
    assert SandboxCheck.objects.take(row)
    SandboxCheck.objects.store(row, {**CLOSED, **checks})
    row.refresh_from_db()
    return row


REACHED = Check(False, "reached 10.0.0.1:443")


def test_programs_run_where_all_is_well(db: None) -> None:
    assert a_row().refusal() == ""


def test_programs_are_refused_where_one_check_failed(db: None) -> None:
    assert a_row(api_server=REACHED).refusal() == (
        "pods are not closed as they have to be: api_server: reached 10.0.0.1:443"
    )


def test_override_names_a_check(db: None, settings: Settings) -> None:
    settings.SANDBOX_CANARY_OVERRIDE = ["api_server"]
    row = a_row(api_server=REACHED)
    assert row.refusal() == ""
    assert row.warnings() == {"api_server": "reached 10.0.0.1:443"}
    assert "metadata" in a_row_again(row, metadata=REACHED).refusal()


def a_row_again(row: SandboxCheck, **checks: Check) -> SandboxCheck:
    SandboxCheck.objects.store(row, {**CLOSED, **checks})
    row.refresh_from_db()
    return row


def test_node_that_is_reached_is_a_warning(db: None) -> None:
    row = a_row(node=REACHED)
    assert row.refusal() == ""
    assert row.warnings() == {"node": "reached 10.0.0.1:443"}


def test_nothing_is_proven_before_the_first_canary(db: None) -> None:
    row = SandboxCheck.objects.of(SCOPE, "a")
    assert "no pod has told yet" in row.refusal()
    SandboxCheck.objects.note_problem(row, "no room", is_hopeless=False)
    row.refresh_from_db()
    assert row.refusal() == "pods are not proven to be closed: no room"


def test_old_proof_holds_while_there_is_no_new_one(db: None) -> None:
    row = a_row()
    SandboxCheck.objects.note_problem(row, "the server is away", is_hopeless=True)
    row.refresh_from_db()
    assert (row.refusal(), row.problem) == ("", "the server is away")
    assert not row.is_hopeless


def test_proof_of_other_pods_is_none(db: None) -> None:
    a_row()
    assert SandboxCheck.objects.of(SCOPE, "b").refusal() != ""


def test_one_process_makes_the_canary(db: None) -> None:
    row = SandboxCheck.objects.of(SCOPE, "a")
    assert SandboxCheck.objects.take(row)
    assert not SandboxCheck.objects.take(SandboxCheck.objects.of(SCOPE, "a"))


def test_row_of_new_settings_is_the_one_that_counts(db: None) -> None:
    a_row()
    SandboxCheck.objects.filter(fingerprint="a").update(due_at=Now())
    new = SandboxCheck.objects.of(SCOPE, "b")
    assert SandboxCheck.objects.take(new)
    newest = SandboxCheck.objects.newest(SCOPE)
    assert newest is not None
    assert newest.fingerprint == "b"
    assert newest.refusal() != ""


def test_late_problem_does_not_touch_a_new_proof(db: None) -> None:
    before = SandboxCheck.objects.of(SCOPE, "a")
    a_row()
    SandboxCheck.objects.note_problem(before, "no room", is_hopeless=True)
    now = SandboxCheck.objects.of(SCOPE, "a")
    assert (now.problem, now.is_hopeless, now.refusal()) == ("", False, "")


def test_newest_proof_is_told_with_its_age(db: None, settings: Settings) -> None:
    assert SandboxCheck.objects.newest(SCOPE) is None
    SandboxCheck.objects.of(SCOPE, "b")
    a_row()
    newest = SandboxCheck.objects.newest(SCOPE)
    assert newest is not None
    assert newest.fingerprint == "a"
    assert newest.age_s is not None
    assert not newest.is_old
    settings.SANDBOX_CANARY_S = 1e-9
    time.sleep(0.01)
    newest = SandboxCheck.objects.newest(SCOPE)
    assert newest is not None
    assert newest.is_old


def gate(row: SandboxCheck) -> Canary:
    made = Canary()
    made._learn(row)
    return made


def test_gate_lets_programs_pass(db: None) -> None:
    gate(a_row()).pass_through(always)


def test_gate_tells_why_it_is_shut(db: None) -> None:
    with pytest.raises(NoSandboxNow, match=r"api_server: reached 10\.0\.0\.1:443"):
        gate(a_row(api_server=REACHED)).pass_through(always)


def test_gate_waits_for_the_first_proof(db: None) -> None:
    row = SandboxCheck.objects.of(SCOPE, "a")
    waiting = gate(row)
    passed = threading.Event()

    def pass_through() -> None:
        waiting.pass_through(always)
        passed.set()

    threading.Thread(target=pass_through, daemon=True).start()
    assert not passed.wait(0.3)
    waiting._learn(a_row())
    assert passed.wait(10)


def test_metrics_tell_what_the_canary_found(db: None) -> None:
    waiting = Canary()
    collector = metrics.CanaryCollector(waiting)
    assert list(collector.collect()) == []
    a_row(api_server=REACHED)
    waiting._learn(SandboxCheck.objects.of(SCOPE, "a"))
    samples = [each for family in collector.collect() for each in family.samples]
    told = {(each.name, *each.labels.values()): each.value for each in samples}
    assert told["coding_platform_canary_check", "api_server"] == 0
    assert told["coding_platform_canary_check", "memory_limit"] == 1
    assert told["coding_platform_canary_refuses",] == 1
    assert 0 <= told["coding_platform_canary_age_seconds",] < 60


def test_old_proof_does_not_open_the_gate_before_a_new_one_was_tried(
    db: None, settings: Settings
) -> None:
    a_row()
    settings.SANDBOX_CANARY_S = 1e-9
    time.sleep(0.01)
    waiting = gate(SandboxCheck.objects.of(SCOPE, "a"))
    assert not waiting._is_open
    waiting._has_tried = True
    waiting._learn(SandboxCheck.objects.of(SCOPE, "a"))
    waiting.pass_through(always)


def test_program_that_waits_at_the_gate_may_be_cancelled(db: None) -> None:
    with pytest.raises(SandboxDetached):
        gate(SandboxCheck.objects.of(SCOPE, "a")).pass_through(lambda: False)


def test_pods_that_can_never_be_made_fail_runs(db: None) -> None:
    row = SandboxCheck.objects.of(SCOPE, "a")
    SandboxCheck.objects.note_problem(row, "no such image", is_hopeless=True)
    row.refresh_from_db()
    with pytest.raises(SandboxUnavailable, match="no such image") as caught:
        gate(row).pass_through(always)
    assert not isinstance(caught.value, NoSandboxNow)


def test_pods_of_a_young_canary_are_not_orphans() -> None:
    now = time.monotonic()
    young = {"metadata": {"name": f"{canary.PREFIX}1"}}
    other = {"metadata": {"name": "somebody"}}
    assert controller._may_be_canary(Seen(young, at=now))
    assert not controller._may_be_canary(Seen(young, at=now - canary.DEADLINE_S))
    assert not controller._may_be_canary(Seen(other, at=now))


def test_unknown_override_is_an_error(settings: Settings) -> None:
    settings.SANDBOX_BACKEND = "kubernetes"
    settings.SANDBOX_CANARY_OVERRIDE = ["moon", "node"]
    told = [each.msg for each in settings_fit_together() if "moon" in each.msg]
    assert len(told) == 1
    assert told[0].startswith("SANDBOX_CANARY_OVERRIDE=moon is no check; known: ")


# --- on a cluster -------------------------------------------------------------------


@pytest.mark.cluster
def test_pods_are_closed(make: Make) -> None:
    backend = make()
    assert backend.watch.wait_listed(10)
    report = canary.look(backend)
    assert {n: c.found for n, c in report.items() if not c.is_ok} == {}
    assert report.keys() == CHECKS.keys()


@pytest.fixture
def open_namespace(core: client.CoreV1Api) -> Iterator[str]:
    """Make a namespace whose pods may reach, and be reached by, everybody."""
    with a_namespace() as name:
        client.NetworkingV1Api().delete_namespaced_network_policy("sandboxes", name)
        yield name


def refused(deployment: Deployment) -> dict[str, Any]:
    """Submit a program, and return what its row says once it was refused."""
    answer = deployment.client().submit(runtime="python", source="print(42)")
    path = f"/api/v1/executions/{answer.body['id']}"

    def reason() -> bool:
        return bool(deployment.client().request("GET", path).body["reason"])

    wait_until(reason, "a reason is told", timeout_s=60)
    told: dict[str, Any] = deployment.client().request("GET", path).body
    return told


@pytest.mark.cluster
def test_programs_are_refused_where_pods_are_open(open_namespace: str) -> None:
    settings = {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": open_namespace,
        "SANDBOX_IMAGE": IMAGE,
    }
    with Deployment(settings=settings) as deployment:
        told = refused(deployment)
        assert told["status"] == "queued"
        assert "api_server: reached" in told["reason"]
        ready = deployment.client().request("GET", "/api/ready/")
        assert ready.status == 503
        assert "other_pods: reached" in ready.body["parts"]["sandbox"]["problem"]
        done = subprocess.run(
            [sys.executable, "manage.py", "doctor"],
            cwd=ROOT,
            env={**os.environ, **deployment.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "api_server: reached" in done.stdout


@pytest.mark.cluster
def test_override_lets_programs_into_open_pods(open_namespace: str) -> None:
    with Deployment(
        settings={
            "SANDBOX_BACKEND": "kubernetes",
            "SANDBOX_NAMESPACE": open_namespace,
            "SANDBOX_IMAGE": IMAGE,
            "SANDBOX_CANARY_OVERRIDE": "api_server,cluster_dns,metadata,other_pods",
        }
    ) as deployment:
        answer = deployment.client().submit(
            wait_s=60, runtime="python", source="print(42)"
        )
        assert (answer.body["verdict"], answer.body["reason"]) == ("ok", "")
        assert deployment.client().request("GET", "/api/ready/").status == 200
