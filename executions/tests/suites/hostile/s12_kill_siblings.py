"""Kill, stop and trace everything in sight, such as a helper that waits for the next stage."""
import os
import signal

from probe import attempt, number, syscall

for _ in range(20):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (1, os.getpid()):
            print("found", name, open(f"/proc/{name}/comm").read().strip())
            attempt(f"attach {name}", syscall, number(101, 117), 16, int(name), 0, 0)
            for sign in (signal.SIGSTOP, signal.SIGKILL):
                try:
                    os.kill(int(name), sign)
                except OSError:
                    pass
print("DONE", flush=True)
os._exit(5)
