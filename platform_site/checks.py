"""Settings that cannot work together are found before anything is started."""

from __future__ import annotations
