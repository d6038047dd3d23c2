"""The prestarts of python and javascript, with what their interpreters load first."""

from __future__ import annotations

from pathlib import Path

from executions.runtimes.base import Prestart

_HERE = Path(__file__).parent

PYTHON = Prestart(
    key="python",
    argv=("python3", "main.py"),
    command=("python3", "main.py"),
    env={"PYTHONPATH": "{folder}"},
    files={"sitecustomize.py": (_HERE / "prestart_python.py").read_text("utf-8")},
)

JAVASCRIPT = Prestart(
    key="javascript",
    argv=("node", "--max-old-space-size={memory_mib}", "main.js"),
    command=("node", "--max-old-space-size={memory_mib}", "main.js"),
    env={"NODE_OPTIONS": "--require={folder}/start.js"},
    files={"start.js": (_HERE / "prestart_javascript.js").read_text("utf-8")},
)
