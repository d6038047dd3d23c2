"""Reads the metrics of a process of ours, as Prometheus would."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "coding_platform_"


def read(url: str) -> str:
    """Return the text; raises OSError."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


def told(url: str) -> dict[tuple[str, ...], float]:
    """Return all of ours: name without prefix and the labels' values, to the number."""
    return {
        (
            sample.name.removeprefix(PREFIX),
            *sample.labels.values(),
        ): sample.value
        for family in text_string_to_metric_families(read(url))
        for sample in family.samples
        if sample.name.startswith(PREFIX)
    }
