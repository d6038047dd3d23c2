"""What every test needs before Django reads its settings."""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

import django

os.environ.setdefault("ENV_FILE", os.devnull)
os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ.setdefault("SANDBOX_BACKEND", "fake")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")

# pytest-django looks before this file was read, and would then leave Django alone.
django.setup()

from django.db import connections  # noqa: E402 - needs the set-up above

default = connections["default"]
if default.vendor == "sqlite":
    # A file, as in use: in memory, SQLite shares one cache and does not wait for locks.
    # In a folder of its own, as threads that still live may keep files beside it.
    folder = tempfile.TemporaryDirectory(prefix="coding-platform-test-")
    atexit.register(folder.cleanup)
    default.settings_dict["TEST"]["NAME"] = str(Path(folder.name) / "db.sqlite3")
