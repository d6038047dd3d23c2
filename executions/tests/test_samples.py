"""The first program that the editor shows runs, in every language of this machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from executions import languages, rules, runtimes, specs
from executions.runtimes import build, prepare, probe, selftest
from executions.runtimes.base import Runtime
from executions.sandbox.base import Backend, Case
from executions.sandbox.jailpool import Config
from executions.sandbox.jails import JailBackend

pytestmark = pytest.mark.jail

AVAILABLE = [runtime for runtime in runtimes.all() if probe.is_available(runtime)]
# These have no input to read, or a sample that reads none.
SILENT = {"assembly": b"Hello, world!\n", "sql": b"Hello, world!\nHello, SQLite!\n"}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    base = Path(settings.SANDBOX_PREPARED_DIR)
    for runtime in prepare.needed(base):
        prepare.prepare(runtime, base)
    config = Config(read_only=(*runtimes.paths(), f"{base}:{runtimes.PREPARED}"))
    made = JailBackend(tmp_path_factory.mktemp("state"), config)
    yield made
    made.close()


def written(backend: Backend, runtime: Runtime, *inputs: bytes) -> list[bytes]:
    """Submit the sample as it is shown; return what it writes for each input."""
    data = {"runtime": runtime.key, "source": languages.sample(runtime)}
    submission = specs.validate(data, rules=rules.current())
    spec = build.spec(
        runtime,
        key=f"sample-{uuid.uuid4()}",
        files=submission.files,
        entry=submission.entry_point,
        limits=submission.limits,
        compile_limits=submission.compile_limits,
        cases=tuple(Case(stdin) for stdin in inputs),
    )
    outcome = selftest.outcome_of(backend, spec)
    assert outcome.cases, outcome.compile
    assert [case.exit_code for case in outcome.cases] == [0] * len(inputs), outcome
    return [case.stdout.head for case in outcome.cases]


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_sample_greets(runtime: Runtime, backend: Backend) -> None:
    alone = SILENT.get(runtime.key, b"Hello, world!\n")
    named = SILENT.get(runtime.key, b"Hello, Ada!\nHello, Grace!\n")
    assert written(backend, runtime, b"", b"Ada\nGrace\n") == [alone, named]


def test_samples_all_belong_to_a_runtime() -> None:
    samples = {path.stem for path in languages.SAMPLES_DIR.iterdir()}
    assert samples <= {runtime.key for runtime in runtimes.all()}
