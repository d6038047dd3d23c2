"""What runs in the jails of a state folder, asked of its fork servers themselves."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

from executions.sandbox.forkserver import MESSAGE_BYTES, SOCKET_NAME


def forkserver_states(state_dir: Path) -> list[dict[str, Any]]:
    """Return what each living fork server of this folder says: pid, counts of jails."""
    states = []
    for path in state_dir.glob(f"*/{SOCKET_NAME}"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.settimeout(5)
            connection.connect(str(path))
            connection.send(b'{"op": "status"}')
            states.append(json.loads(connection.recv(MESSAGE_BYTES)))
    return states
