"""Bodies are read in linear time: one request must not stop a web process for hours."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LENGTH = 500_000
# More commas than make a body worth a closer look, then what could be looked at twice.
PIECES = {
    "quotes in an open string": b'\\"',
    "open strings": b'"\\',
    "quotes": b'"',
    "backslashes": b"\\",
    "arrays": b"[",
    "objects": b'{"a":',
    "commas": b",",
    "blanks": b" ",
    "minus signs": b"-",
}
# A process of its own can be ended; a regular expression cannot.
PARSE = """
import sys, django
django.setup()
from executions.api import parsing
from executions.api.errors import ApiError
try:
    parsing.parse(sys.stdin.buffer.read())
except ApiError as error:
    print("refused")
"""


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
def test_body_is_refused_in_linear_time(piece: bytes) -> None:
    body = b"," * 40 + b'"' + piece * (LENGTH // len(piece))
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=body,
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        timeout=30,  # quadratic time would be an hour
    )
    assert done.stdout == b"refused\n"
