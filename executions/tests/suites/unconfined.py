"""Runs the confinement part without any sandbox, to prove that the suite can fail.

The programs concerned are harmless by design: they look, and touch nothing but bait.
Still, as root they run as a user whom nothing else belongs to, from a copy of the code
that this user may read.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from executions.sandbox.plain import PlainBackend
from executions.tests.suites import bait, over_backend, runner
from executions.tests.suites.hostile_table import HOSTILE

NOBODYS_UID = 61_234
TIMEOUT_S = 300
PACKAGE = Path(__file__).resolve().parents[2]


def faults() -> dict[str, list[str]]:
    """Return what was wrong with each program; most should have something."""
    with bait.laid_out() as laid, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=_unneeded)
        facts = {
            "names": laid.names | {"outside": ""},
            "secrets": [s.decode() for s in laid.secrets],
        }
        done = subprocess.run(
            [_interpreter(), "-m", __name__],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": name, "TMPDIR": name},
            input=json.dumps(facts).encode(),
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=True,
            user=_nobody(folder),
            group=_nobody(folder),
            extra_groups=None if _nobody(folder) is None else [],
        )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def _unneeded(folder: str, names: list[str]) -> set[str]:
    if Path(folder).name == "tests":
        return set(names) - {"__init__.py", "suites"}
    return {"__pycache__"} & set(names)


def _interpreter() -> str:
    # That of a virtual environment may lie in a home folder.
    return "/usr/bin/python3" if os.geteuid() == 0 else sys.executable


def _nobody(folder: Path) -> int | None:
    """Return who is to run the programs: None is whoever runs this."""
    if os.geteuid() != 0:
        return None
    os.chown(folder, NOBODYS_UID, NOBODYS_UID)
    return NOBODYS_UID


def main(facts: Mapping[str, dict[str, str]]) -> dict[str, list[str]]:
    """Run them here, as whoever this process is."""
    laid = bait.Bait(nonce=facts["names"]["nonce"], names=facts["names"])
    laid.secrets = [secret.encode() for secret in facts["secrets"]]
    backend = PlainBackend()
    driver = over_backend.Direct(backend)
    available = driver.runtimes()
    programs = [p for p in HOSTILE if p.unboxed and available.get(p.runtime)]
    try:
        reports = runner.Suite(driver, laid, clients=2).run(programs)
    finally:
        backend.close()
    return {report.program.id: report.faults[:3] for report in reports}


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
