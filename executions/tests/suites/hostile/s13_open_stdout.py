"""Leave a child that keeps stdout and stderr open: the result must not wait for it."""
import subprocess
import sys

subprocess.Popen(
    [sys.executable, "-S", "-c", "import time; time.sleep(1000)", "suite-" + sys.argv[1]],
    start_new_session=True,
)
print("DONE")
