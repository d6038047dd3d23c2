"""stub"""
from __future__ import annotations
import struct
_ALLOW = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
AGENT_FILTER = _ALLOW
PROGRAM_FILTER = _ALLOW
