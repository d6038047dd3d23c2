"""What Prometheus is told: a collector for each subject, which reads when asked.

The code that is told of keeps plain counters (sandbox.counters), and knows nothing of
this. Imported only where METRICS_PORT asks for it. A new subject is a collector of its
own that of_worker or of_controller adds; docs/operations.md lists all names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from executions.canary import Canary
from executions.pool import SandboxPod, State
from executions.sandbox.counters import BOUNDS_S, Durations
from executions.tally import Tally
from platform_site import connections

if TYPE_CHECKING:
    from executions.controller import Controller
    from executions.sandbox.kubernetes import KubernetesBackend
    from executions.worker import Worker

logger = logging.getLogger(__name__)

PREFIX = "coding_platform_"
PODS_KEPT_S = 5.0
"""How long the pods in the database are not counted again."""
REQUEST_TIMEOUT_S = 5.0
_BOUNDS = [*map(str, BOUNDS_S), "+Inf"]

Counted = Mapping[tuple[str, ...], float]


class RunsCollector(Collector):
    """The runs of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        tally = self._worker.tally
        yield _gauge(
            "runs_followed",
            "Runs that this worker follows now.",
            (),
            {(): len(self._worker.runs())},
        )
        yield from self._totals(tally)
        yield _histogram(
            "claim_wait_seconds",
            "How long runs that were due waited for this worker's claim.",
            (),
            {(): tally.waits},
        )
        yield _histogram(
            "stage_seconds",
            "How long the stages of runs took, from claim to stored outcome.",
            ["stage"],
            {(stage,): taken for stage, taken in tally.stages.items()},
        )

    def _totals(self, tally: Tally) -> Iterable[Metric]:
        yield _counter(
            "executions",
            "Runs whose end this worker recorded.",
            ["verdict"],
            tally.runs.read(),
        )
        yield _counter(
            "adoptions",
            "Runs of other workers that this one went on with.",
            ["cause"],
            tally.adopted.read(),
        )
        yield _counter(
            "postponed_runs",
            "Runs that went back to the queue for want of a sandbox.",
            (),
            tally.postponed.read(),
        )
        yield _counter(
            "failed_attempts",
            "Attempts that failed by the platform's fault.",
            (),
            tally.failed_attempts.read(),
        )


class ClusterCollector(Collector):
    """What one process has to do with the API server, and which pods it was given."""

    def __init__(self, backend: KubernetesBackend) -> None:
        self._backend = backend

    def collect(self) -> Iterable[Metric]:
        watch = self._backend.watch
        yield _counter(
            "api_calls",
            'Calls of the Kubernetes API server; code is "none" without an answer.',
            ["verb", "code"],
            self._backend.api.calls.read(),
        )
        yield _counter(
            "sandbox_starts",
            "Runs given to a pod that waited (warm) or was made for them (cold).",
            ["kind", "start"],
            self._backend.starts.read(),
        )
        yield _gauge(
            "watch_age_seconds",
            "Time since the watch of pods told anything.",
            (),
            {(): time.monotonic() - watch.heard_at},
        )
        yield _counter(
            "watch_relists",
            "Lists of all pods after the first.",
            (),
            {(): max(0, watch.lists - 1)},
        )
        yield _counter(
            "watch_failures",
            "Breaks of the watch of pods.",
            (),
            {(): watch.failures},
        )
        yield _counter("watch_events", "Changes of pods.", (), {(): watch.events})


class CanaryCollector(Collector):
    """What this process knows of the last proof that pods are closed."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary

    def collect(self) -> Iterable[Metric]:
        row = self._canary.row
        if row is None:
            return
        yield _gauge(
            "canary_check",
            "Whether a check of the last canary was well (1) or not (0).",
            ["check"],
            {(name,): float(check["ok"]) for name, check in row.checks.items()},
        )
        yield _gauge(
            "canary_refuses",
            "Whether programs are refused for what the last canary found (1).",
            (),
            {(): float(bool(row.refusal()))},
        )
        if row.age_s is not None:
            yield _gauge(
                "canary_age_seconds",
                "Time since the last proof.",
                (),
                {(): row.age_s + time.monotonic() - self._canary.read_at},
            )


class PoolCollector(Collector):
    """The pods of the pool, counted in the database, but not for each scrape."""

    def __init__(self, kinds: Collection[str], *, kept_s: float = PODS_KEPT_S) -> None:
        self._kinds = kinds
        self._kept_s = kept_s
        self._counted_at = float("-inf")
        self._counts: dict[tuple[str, ...], float] | None = None

    def collect(self) -> Iterable[Metric]:
        now = time.monotonic()
        if now - self._counted_at >= self._kept_s:
            self._counts, self._counted_at = self._count(), now
        if self._counts is not None:
            yield _gauge(
                "sandbox_pods",
                "Pods of the pool.",
                ["kind", "state"],
                self._counts,
            )

    def _count(self) -> dict[tuple[str, ...], float] | None:
        """Return how many there are; None when the database does not say."""
        found: dict[tuple[str, ...], float] = {
            (kind, state): 0 for kind in self._kinds for state in State.values
        }
        try:
            for kind_and_state, count in SandboxPod.objects.counts().items():
                found[kind_and_state] = count
        except (DatabaseError, InterfaceError) as error:
            logger.debug("the pods are not counted: %s", error)
            return None
        finally:
            connections.end()
        return found


class ControllerCollector(Collector):
    """What one sandbox controller wants and does."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterable[Metric]:
        yield _gauge(
            "sandbox_pods_wanted",
            "Pods that should wait, by the arrivals.",
            ["kind"],
            {(kind,): count for kind, count in self._controller.targets().items()},
        )
        yield _counter(
            "sandbox_orphans",
            "Pods of no use that the controller took away.",
            ["cause"],
            self._controller.orphans.read(),
        )


def of_worker(worker: Worker) -> list[Collector]:
    collectors: list[Collector] = [RunsCollector(worker)]
    if settings.SANDBOX_BACKEND == "kubernetes":
        collectors += _of_pods(cast("KubernetesBackend", worker.backend))
    return collectors


def _of_pods(backend: KubernetesBackend) -> Iterator[Collector]:
    yield ClusterCollector(backend)
    if isinstance(backend.gate, Canary):
        yield CanaryCollector(backend.gate)


def of_controller(
    controller: Controller, backend: KubernetesBackend
) -> list[Collector]:
    return [
        PoolCollector(controller.targets()),
        ControllerCollector(controller),
        *_of_pods(backend),
    ]


def registry_of(collectors: Iterable[Collector]) -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in collectors:
        registry.register(collector)
    return registry


def serve(collectors: Iterable[Collector]) -> Server | None:
    """Answer at METRICS_HOST and METRICS_PORT from a thread, if the port is free."""
    host, port = settings.METRICS_HOST, settings.METRICS_PORT
    try:
        server = Server((host, port), registry_of(collectors))
    except OSError as error:
        logger.warning("no metrics at %s:%s: %s", host, port, error)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class Server(HTTPServer):
    """One request at a time: whoever asks takes no more than one thread."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        self.registry = registry
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Past HTTPServer's, which asks the DNS for a name that nobody wants.
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("metrics for %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self.server.registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _counter(
    name: str, text: str, labels: Sequence[str], counted: Counted
) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, count in sorted(counted.items()):
        family.add_metric(values, count)
    return family


def _gauge(
    name: str, text: str, labels: Sequence[str], counted: Counted
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, count in sorted(counted.items()):
        family.add_metric(values, count)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    taken: Mapping[tuple[str, ...], Durations],
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for values, durations in taken.items():
        groups = durations.read()
        buckets = list(zip(_BOUNDS, groups.up_to, strict=True))
        family.add_metric(values, buckets, groups.total_s)
    return family
