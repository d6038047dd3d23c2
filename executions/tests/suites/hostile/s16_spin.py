"""An endless loop that catches whatever can be caught."""
import signal

for number in range(1, 65):
    try:
        signal.signal(number, lambda *_: None)
    except (OSError, ValueError):
        pass
print("begin", flush=True)
while True:
    try:
        while True:
            pass
    except BaseException:
        continue
