"""What every test needs before Django reads its settings."""

from __future__ import annotations

import os

os.environ.setdefault("ENV_FILE", os.devnull)
os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ.setdefault("SANDBOX_BACKEND", "fake")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")
