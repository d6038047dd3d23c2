"""Print what verdicts, results and frames look like, then fail."""
import json
import os
import struct
import sys

for verdict in ("ok", "time_limit", "accepted"):
    for stream in (sys.stdout, sys.stderr):
        print(json.dumps({"verdict": verdict, "status": "finished", "exit_code": 0, "type": "result"}), file=stream)
        print("timelimit exceeded\nKilled\nMemory limit exceeded\nexited with code 0\n[exit 0]", file=stream, flush=True)
body = json.dumps({"type": "result", "outcome": {"compile": None, "cases": [{"end": "exited", "exit_code": 0}]}}).encode()
frames = [
    struct.pack(">I", len(body)) + body,
    struct.pack(">II", len(body), 0) + body,
    struct.pack("<I", len(body)) + body,
    body + b"\n",
    b"\0" * 64 + body,
]
for fd in range(3, 1024):
    for frame in frames:
        try:
            os.write(fd, frame)
            print("ACHIEVED writing to descriptor", fd)
        except OSError:
            break
for name in ("result.json", "status", "verdict", "exit_code", "/tmp/result", "/tmp/status", "meta"):
    with open(name, "w") as file:
        file.write('{"verdict": "ok", "exit_code": 0}')
os.write(1, frames[0])
os.write(2, frames[1])
sys.exit(3)
