"""The only door to executions: submit, cancel, wait, run, record an outcome, prune.

Views, commands and tasks call these and nothing below them.
"""

from __future__ import annotations
