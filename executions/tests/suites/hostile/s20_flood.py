"""Write a stated number of bytes to a stream, in a stated shape."""
import os
import subprocess
import sys

kind, total = sys.argv[1], int(sys.argv[2])
line = b"0123456789abcdef" * 63 + b"0123456789abcde\n"


def flood(fd, shape=line):
    left = total
    while left > 0:
        left -= os.write(fd, (shape * 64)[: min(left, len(shape) * 64)])


if kind == "stdout":
    flood(1)
    os.write(2, b"went on\n")
elif kind == "stderr":
    flood(2)
    os.write(1, b"went on\n")
elif kind == "both":
    for _ in range(total // len(line)):
        os.write(1, line)
        os.write(2, line)
elif kind == "line":
    flood(1, b"y" * 1024)
    os.write(2, b"went on\n")
elif kind == "child":
    code = f"import os\nfor _ in range({total // 1024}): os.write(1, b'z' * 1024)"
    subprocess.run([sys.executable, "-c", code], start_new_session=True)
    os.write(2, b"went on\n")
elif kind == "bytes":
    for _ in range(total):
        os.write(1, b"1")
