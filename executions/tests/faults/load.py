"""Load with known answers: what is submitted says by itself what must come back.

Every program prints its nonce and its start on the machine's monotonic clock, which
jails share, so that an output also tells *when* the one start that counted was.
"""

from __future__ import annotations

import http.client
import random
import secrets
import threading
import time
from dataclasses import dataclass, field

from testing.deployment import Client

QUICK = """\
import time
print({nonce!r}, time.monotonic_ns())
"""

SLOW = """\
import time
print({nonce!r}, time.monotonic_ns(), flush=True)
for step in range({steps}):
    time.sleep(0.25)
    print("step", step, flush=True)
"""

RETRY_SECONDS = 0.2
# Far more than any program here needs, however busy the machine is.
WALL_TIME_MS = 60_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """A program that the API accepted; `steps` lines follow the first one."""

    id: str
    nonce: str
    steps: int

    def is_exact(self, stdout: bytes) -> bool:
        first, *rest = stdout.decode().splitlines()
        nonce, _ = first.split(" ")
        return nonce == self.nonce and rest == [f"step {n}" for n in range(self.steps)]

    @staticmethod
    def started_ns(stdout: bytes) -> int:
        """When the program started, as it says itself (monotonic, ns)."""
        return int(stdout.split()[1])


@dataclass(slots=True)
class Load:
    """Clients that submit programs until `stop`; thread-safe to read afterwards.

    `refused` holds (status, body) of every answer that was no success, `broken` the
    connections that ended without an answer: those programs may or may not be stored.
    `prologue` comes before each program, with its nonce filled in. Each client waits up
    to `wait_s` for its program before it submits the next.
    """

    client: Client
    rng: random.Random
    clients: int = 4
    longest_steps: int = 16
    always_slow: bool = False
    pause_s: float = 0.1
    prologue: str = ""
    wait_s: float = 0.0
    accepted: list[Accepted] = field(default_factory=list)
    refused: list[tuple[int, object]] = field(default_factory=list)
    broken: int = 0
    _halt: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, total: int | None = None) -> Load:
        """Begin submitting: `total` programs in all, or until stop."""
        quotas: list[int | None] = [None] * self.clients
        if total is not None:
            share, more = divmod(total, self.clients)
            quotas = [share + (n < more) for n in range(self.clients)]
        for quota in quotas:
            rng = random.Random(self.rng.random())
            thread = threading.Thread(target=self._submit_until, args=(quota, rng))
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        self._halt.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _submit_until(self, quota: int | None, rng: random.Random) -> None:
        done = 0
        while not self._halt.is_set() and (quota is None or done < quota):
            slow = rng.randint(1, self.longest_steps)
            if self.always_slow:
                slow = self.longest_steps // 2 + slow // 2
            steps = slow if self.always_slow else rng.choice((0, 0, slow))
            done += self._submit(steps)
            self._halt.wait(rng.uniform(0, 2 * self.pause_s))

    def _submit(self, steps: int) -> bool:
        nonce = secrets.token_hex(8)
        text = self.prologue + (SLOW if steps else QUICK)
        source = text.format(nonce=nonce, steps=steps)
        try:
            answer = self.client.submit(
                wait_s=self.wait_s,
                runtime="python",
                source=source,
                limits={"wall_time_ms": WALL_TIME_MS},
            )
        except (OSError, http.client.HTTPException):
            self.broken += 1
            time.sleep(RETRY_SECONDS)
            return False
        if answer.status == 201:
            self.accepted.append(Accepted(answer.body["id"], nonce, steps))
            return True
        self.refused.append((answer.status, answer.body))
        time.sleep(RETRY_SECONDS)
        return False
