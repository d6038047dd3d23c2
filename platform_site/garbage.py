"""Python's garbage collector, in processes that serve for long."""

from __future__ import annotations

import gc

OBJECTS = 10_000
"""New containers before the collector looks: some requests' worth, not each one's."""


def settle() -> None:
    """Leave what was loaded until now alone; look at what comes less often.

    Of a request nearly everything goes by itself. By default the collector looks four
    times in each, and now and then through all of the framework.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS, 20, 20)
