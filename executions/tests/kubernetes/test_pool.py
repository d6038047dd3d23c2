"""The pool of waiting pods: its rows alone, and with a controller on a cluster."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from kubernetes import client

from executions import controller as controllers
from executions.controller import Allowance, Controller, Demand, Size, sizes_from
from executions.models import SandboxPod
from executions.pool import State, WarmPods
from executions.sandbox.base import SandboxGone
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import DEFAULT_PROFILES, Kind
from executions.sandbox.warm import Taken
from executions.tests.kubernetes.conftest import SECRET, calls_of, cluster_of, spec
from executions.tests.sandbox.conftest import finish
from testing.servers import wait_until

SMALL, LARGE = DEFAULT_PROFILES
PROFILES = {profile.name: profile for profile in DEFAULT_PROFILES}
PYTHON = Kind(SMALL, "python")
TEMPLATES = {"small.python": "t", "small": "t"}


def ready(name: str, kind: str = "small", template: str = "t") -> SandboxPod:
    return SandboxPod.objects.create(
        name=name,
        kind=kind,
        template=template,
        state=State.READY,
        uid=f"uid-{name}",
        address="10.0.0.1",
    )


# --- the rows


@pytest.mark.django_db(transaction=True)
class TestRows:
    def test_the_best_kind_is_taken_first_and_the_oldest_of_it(self) -> None:
        for name, kind in (("a", "small"), ("b", "small.python"), ("c", "small")):
            ready(name, kind)
        pool = WarmPods()
        taken = [pool.take(f"key-{n}", TEMPLATES, 600) for n in range(4)]
        assert [one and one.name for one in taken] == ["b", "a", "c", None]
        assert taken[0] == Taken("b", "uid-b", "10.0.0.1")

    def test_what_was_made_from_another_template_is_not_taken(self) -> None:
        ready("a", template="older")
        assert WarmPods().take("key", TEMPLATES, 600) is None

    def test_one_that_is_too_old_is_not_taken(self) -> None:
        ready("a")
        assert WarmPods().take("key", TEMPLATES, 0) is None
        assert WarmPods().take("key", TEMPLATES, 600) is not None

    def test_an_attempt_takes_one_and_the_same(self) -> None:
        ready("a")
        ready("b")
        pool = WarmPods()
        first, again = (
            pool.take("key", TEMPLATES, 600),
            pool.take("key", TEMPLATES, 600),
        )
        assert first == again == pool.find("key")
        assert pool.held() == ["key"]

    def test_one_that_is_over_is_nobodys(self) -> None:
        ready("a")
        pool = WarmPods()
        pool.take("key", TEMPLATES, 600)
        pool.end("a")
        assert pool.find("key") is None
        assert pool.held() == []
        assert SandboxPod.objects.get().state == State.ENDING

    @pytest.mark.db
    def test_no_pod_is_taken_twice(self) -> None:
        for number in range(30):
            ready(f"pod-{number}")
        pool = WarmPods()

        def take(number: int) -> str:
            try:
                taken = pool.take(f"key-{number}", TEMPLATES, 600)
                return taken.name if taken else ""
            finally:
                connection.close()

        with ThreadPoolExecutor(16) as threads:
            names = list(threads.map(take, range(40)))
        assert sorted(names) == sorted([f"pod-{n}" for n in range(30)] + [""] * 10)


# --- how many


def test_target_grows_with_arrivals_and_stays_within_bounds() -> None:
    demand, size = Demand(), Size(2, 12)
    now = demand._at
    assert demand.target(size) == 2
    for second in range(1, 120):
        demand.note(2, now + second)
    busy = demand.target(size)
    assert 6 < busy <= 12
    for second in range(120, 600):
        demand.note(0, now + second)
    assert demand.target(size) == 2
    for second in range(600, 720):
        demand.note(100, now + second)
    assert demand.target(size) == 12


def test_pods_are_made_no_faster_than_allowed() -> None:
    allowance = Allowance(burst=5, per_s=0.001)
    assert [allowance.take(3) for _ in range(3)] == [3, 2, 0]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"huge": [1, 2]}, "no profile huge"),
        ({"small": [3, 2]}, "from 0 to the most"),
        ({"small": [-1, 2]}, "from 0 to the most"),
        ({"small": 3}, "two numbers"),
        ({"small": [1]}, "two numbers"),
        ({"small": ["x", 2]}, "two numbers"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(setting: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sizes_from(setting, PROFILES)


def test_kinds_of_a_pool_are_profiles_and_interpreters() -> None:
    sizes = sizes_from({"small.python": [1, 2], "large": [0, 3]}, PROFILES)
    assert sizes == {PYTHON: Size(1, 2), Kind(LARGE): Size(0, 3)}


# --- with a cluster

Run = Callable[..., Controller]


@pytest.fixture
def pooled(namespace: str) -> Iterator[KubernetesBackend]:
    """A worker's backend with the pool."""
    backend = KubernetesBackend(
        cluster_of(namespace), PROFILES, secret=SECRET, pool=WarmPods()
    )
    yield backend
    backend.close()


@pytest.fixture
def run(namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that starts a controller; all pods go at the end."""
    made: list[tuple[Controller, KubernetesBackend, threading.Thread]] = []

    def start(sizes: dict[Kind, Size], **cluster: Any) -> Controller:
        backend = KubernetesBackend(
            cluster_of(namespace, **cluster), PROFILES, secret=SECRET
        )
        one = Controller(backend, sizes)
        thread = threading.Thread(target=one.run)
        thread.start()
        made.append((one, backend, thread))
        return one

    yield start
    for one, backend, thread in made:
        one.stop()
        thread.join(30)
        for seen in backend.watch.all():
            backend.end(str(seen.pod["metadata"]["name"]))
        backend.close()


def states() -> dict[str, int]:
    return {str(s): n for (_, s), n in SandboxPod.objects.counts().items()}


def are_ready(count: int) -> None:
    wait_until(lambda: states() == {"ready": count}, f"{count} ready", timeout_s=60)


@pytest.mark.cluster
@pytest.mark.django_db(transaction=True)
class TestController:
    def test_a_run_in_a_waiting_pod_asks_the_api_server_for_nothing(
        self, run: Run, pooled: KubernetesBackend
    ) -> None:
        run({PYTHON: Size(2, 2)})
        are_ready(2)
        run_spec = spec("print('warm')", prestart="python")
        session = pooled.start(run_spec)
        calls = calls_of(pooled)
        outcome, _ = finish(session)
        assert outcome.cases[0].stdout.head == b"warm\n"
        assert calls == {}
        wait_until(
            lambda: calls_of(pooled) == {("delete", "200"): 1}, "its pod is deleted"
        )
        assert pooled.starts.read() == {("small.python", "warm"): 1}
        are_ready(2)  # refilled, and the used one is gone

    def test_a_pod_that_ends_is_not_deleted_again_and_again(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controllers, "REPEAT_S", 0.0)
        one = run({Kind(SMALL): Size(1, 1)})
        are_ready(1)
        name = SandboxPod.objects.get().name
        SandboxPod.objects.retire([name], [State.READY])
        wait_until(
            lambda: not SandboxPod.objects.filter(name=name).exists(),
            "the pod gone",
            timeout_s=60,
        )
        # The second is asked for before the watch has told of the first.
        assert calls_of(one._backend)["delete", "200"] <= 2

    def test_two_controllers_make_no_more_than_one(
        self, run: Run, core: client.CoreV1Api, namespace: str
    ) -> None:
        for _ in range(2):
            run({Kind(SMALL): Size(4, 4)})
        most = 0

        def is_done() -> bool:
            nonlocal most
            names = [
                pod.metadata.name
                for pod in core.list_namespaced_pod(namespace).items
                if pod.metadata.deletion_timestamp is None
                and pod.metadata.name.startswith("warm-")
            ]
            most = max(most, len(names))
            return states() == {"ready": 4}

        wait_until(is_done, "4 ready", timeout_s=60)
        assert most == 4

    def test_a_waiting_pod_that_is_deleted_is_replaced(
        self, run: Run, core: client.CoreV1Api, namespace: str
    ) -> None:
        run({Kind(SMALL): Size(1, 1)})
        are_ready(1)
        name = SandboxPod.objects.get().name
        core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        wait_until(
            lambda: (
                SandboxPod.objects.exclude(name=name).filter(state="ready").exists()
            ),
            "another one",
            timeout_s=60,
        )
        are_ready(1)

    def test_pods_of_another_template_make_room(self, run: Run) -> None:
        first = run({Kind(SMALL): Size(1, 1)})
        are_ready(1)
        name = SandboxPod.objects.get().name
        first.stop()
        run({Kind(SMALL): Size(1, 1)}, waiting_s=601)
        wait_until(
            lambda: not SandboxPod.objects.filter(name=name).exists(),
            "the older one gone",
            timeout_s=60,
        )
        are_ready(1)

    def test_nobodys_pod_is_taken_away(
        self,
        run: Run,
        core: client.CoreV1Api,
        namespace: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(controllers, "ORPHAN_S", 2.0)
        made = Kind(SMALL).pod("warm-nobodys", cluster_of(namespace), token="t")
        core.create_namespaced_pod(namespace, made)
        one = run({})

        def is_gone() -> bool:
            there = core.list_namespaced_pod(namespace).items
            return "warm-nobodys" not in [pod.metadata.name for pod in there]

        wait_until(is_gone, "the pod gone", timeout_s=60)
        wait_until(
            lambda: one.orphans.read() == {("over",): 0, ("unknown",): 1},
            "it is counted",
        )

    def test_a_pod_that_a_lost_worker_left_is_taken_away(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controllers, "SWEEP_S", 0.5)
        one = run({Kind(SMALL): Size(1, 1)})
        are_ready(1)
        left = SandboxPod.objects.get()
        key = f"{uuid.uuid4()}-1"  # of an execution that there is not
        WarmPods().take(key, {left.kind: left.template}, 600)
        wait_until(
            lambda: not SandboxPod.objects.filter(name=left.name).exists(),
            "the pod gone",
            timeout_s=60,
        )
        assert one.orphans.read() == {("over",): 1, ("unknown",): 0}

    def test_a_pod_goes_when_its_run_is_over_but_a_selftest_goes_on(
        self, run: Run, pooled: KubernetesBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controllers, "SWEEP_S", 0.2)
        run({PYTHON: Size(2, 2)})
        are_ready(2)
        source = "import time; time.sleep({}); print('done')"
        key = f"selftest-{uuid.uuid4()}"
        test = pooled.start(spec(source.format(3), key=key, prestart="python"))
        key = f"{uuid.uuid4()}-1"  # of an execution that there is not
        over = pooled.start(spec(source.format(60), key=key, prestart="python"))
        with pytest.raises(SandboxGone):
            list(over.events())
        assert finish(test)[0].cases[0].stdout.head == b"done\n"

    def test_a_run_finds_another_pod_when_its_own_is_lost(
        self,
        run: Run,
        pooled: KubernetesBackend,
        core: client.CoreV1Api,
        namespace: str,
    ) -> None:
        one = run({PYTHON: Size(2, 2)})
        are_ready(2)
        one.stop()  # nobody notices what follows but the worker
        oldest = SandboxPod.objects.filter(state="ready").order_by("changed_at")[0]
        core.delete_namespaced_pod(oldest.name, namespace, grace_period_seconds=0)
        wait_until(
            lambda: (
                oldest.name
                not in [
                    p.metadata.name for p in core.list_namespaced_pod(namespace).items
                ]
            ),
            "the pod gone",
            timeout_s=30,
        )
        outcome, _ = finish(pooled.start(spec("print(1)", prestart="python")))
        assert outcome.cases[0].stdout.head == b"1\n"

    def test_another_worker_attaches_to_a_pod_of_the_pool(
        self, run: Run, pooled: KubernetesBackend, namespace: str
    ) -> None:
        run({PYTHON: Size(1, 1)})
        are_ready(1)
        source = (
            "import time\nfor n in range(20): print(n, flush=True); time.sleep(0.1)"
        )
        run_spec = spec(source, prestart="python")
        first = pooled.start(run_spec)
        next(first.events())
        first.detach()
        second = KubernetesBackend(
            cluster_of(namespace), PROFILES, secret=SECRET, pool=WarmPods()
        )
        outcome, _ = finish(second.attach(run_spec.key))
        second.close()
        assert outcome.cases[0].stdout.head == b"".join(b"%d\n" % n for n in range(20))
