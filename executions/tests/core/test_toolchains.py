"""Where programs run in pods, the languages are those of the image."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from pytest_django import Settings

from executions import rules, runtimes, toolchains
from executions.runtimes import probe
from executions.runtimes.probe import Probe
from testing.servers import REPOSITORY

PYTHON, RUBY = runtimes.get("python"), runtimes.get("ruby")


@pytest.fixture(autouse=True)
def pods(settings: Settings) -> None:
    settings.SANDBOX_BACKEND = "kubernetes"


def test_language_that_the_image_lacks_is_refused(settings: Settings) -> None:
    settings.SANDBOX_RUNTIMES = {"python": "3.13.5"}
    assert rules.current().missing(PYTHON) is None
    assert rules.current().missing(RUBY) == (
        "ruby is not in the image that programs run in"
    )


def test_versions_are_those_of_the_image(settings: Settings) -> None:
    settings.SANDBOX_RUNTIMES = {"python": "3.13.5"}
    python, ruby = toolchains.find_all([PYTHON, RUBY])
    assert (python.version, python.is_available) == ("3.13.5", True)
    assert (ruby.version, ruby.is_available) == ("", False)


def test_image_of_which_nothing_is_known_may_have_all(settings: Settings) -> None:
    settings.SANDBOX_RUNTIMES = {}
    assert all(found.is_available for found in toolchains.find_all(runtimes.all()))


def test_what_an_image_says_is_what_the_setting_reads() -> None:
    found = [
        Probe(PYTHON, version="3.13.5"),
        Probe(RUBY, problem="none"),
        Probe(runtimes.get("erlang"), version="27"),
    ]
    text = probe.told(found)
    assert probe.read_told(text + "\n") == {"python": "3.13.5", "erlang": "27"}
    code = (
        "from platform_site import settings; print(sorted(settings.SANDBOX_RUNTIMES))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "SANDBOX_RUNTIMES": text},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['erlang', 'python']\n"


def test_this_machine_says_what_it_has() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "executions.runtimes.probe"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    told = probe.read_told(done.stdout)
    assert set(told) == {r.key for r in runtimes.all() if probe.is_available(r)}
