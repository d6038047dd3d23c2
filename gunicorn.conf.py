"""gunicorn's settings: `gunicorn` alone, in this folder, starts the web processes.

How requests are received and bounded is in platform_site/webserver.py and its settings.
"""

import os
from pathlib import Path

wsgi_app = "platform_site.wsgi:application"
worker_class = "platform_site.webserver.Worker"
bind = os.environ.get("WEB_BIND", "0.0.0.0:8002")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
backlog = 2048

# A worker that has not been heard of for so long is replaced.
timeout = 60
# Requests that wait for a program may do so for REQUEST_MAX_WAIT_S.
graceful_timeout = int(os.environ.get("WEB_STOP_TIMEOUT_S", "65"))

# The application writes one line for each request, without queries and headers.
accesslog = None
errorlog = "-"
# Heartbeats are a file's times: never wait for a disk for them.
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes its own safe names there
worker_tmp_dir = str(_memory) if _memory.is_dir() else None
# Nobody needs to command the processes but by signals.
control_socket_disable = True
