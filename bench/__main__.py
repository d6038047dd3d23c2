"""python -m bench: measure the product beside the floors of this machine."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from typing import Any

from rich.console import Console

from bench import forms, measure, report
from bench.measure import QUICK, Effort, Product, Samples

# Warm jails are filled and the start's garbage is gone.
IDLE_S = 6.0
SUBMIT_CLIENTS = 8
PROFILED = 200


class Bench:
    """One run: what to measure, where progress goes, and what was found."""

    def __init__(self, effort: Effort, *, is_profile: bool) -> None:
        self.effort = effort
        self.is_profile = is_profile
        self.console = Console(stderr=not sys.stdout.isatty())
        self.lines: list[report.Line] = []
        self.details: dict[str, Any] = {"effort": dataclasses.asdict(effort)}

    def form(self, name: str) -> None:
        with self.console.status(f"{name}: starting") as status:

            def progress(text: str) -> None:
                status.update(f"{name}: {text}")

            with forms.FORMS[name]() as form:
                product = Product(form)
                product.hello_python()
                progress("idle, for its memory")
                time.sleep(IDLE_S)
                sizes = forms.memory_bytes(form)
                progress("warm-up")
                measure.warm_up(product, self.effort)
                taken = measure.latencies(product, self.effort, progress)
                taken |= measure.rates(product, self.effort, progress)
                if self.is_profile:
                    self.profile(name, product)
        self.lines += report.latency_lines(name, taken)
        self.lines += report.rate_lines(name, taken)
        self.lines.append(report.memory_line(name, sizes))
        self.details[name] = {
            "samples": {key: samples.values for key, samples in taken.items()},
            "memory_bytes": sizes,
        }

    def profile(self, name: str, product: Product) -> None:
        runs = [product.timings() for _ in range(PROFILED)]
        spans = {key: Samples(key, "ms", [run[key] for run in runs]) for key in runs[0]}
        report.show_spans(self.console, name, spans)
        self.details[f"{name} spans"] = {key: s.values for key, s in spans.items()}

    def submits(self) -> None:
        with (
            self.console.status("submits: starting") as status,
            forms.deployed(workers=0, web_processes=2) as form,
        ):
            product = Product(form)
            product.submit_rate(1.0, SUBMIT_CLIENTS)
            status.update("submits: accepted by two web processes")
            rounds = range(self.effort.rate_rounds)
            seconds = self.effort.seconds
            values = [product.submit_rate(seconds, SUBMIT_CLIENTS) for _ in rounds]
        taken = Samples("submits", "1/s", values)
        self.lines.append(report.submit_line(taken))
        self.details["submits"] = values


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--form", choices=[*forms.FORMS, "submits"], action="append")
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument(
        "--profile", action="store_true", help="where a hello's time goes"
    )
    parser.add_argument("--strict", action="store_true", help="fail on a missed bound")
    parser.add_argument("--markdown", action="store_true", help="print for the README")
    given = parser.parse_args()
    # SIGTERM ends like Ctrl-C, so that no server stays behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    if (load := os.getloadavg()[0]) > (os.cpu_count() or 1) / 2:
        # A request takes more turns on the CPU than a floor does: it waits more often.
        print(f"This machine is busy (load {load:.1f}): the ratios will look worse.")
    bench = Bench(QUICK if given.quick else Effort(), is_profile=given.profile)
    for name in given.form or [*forms.FORMS, "submits"]:
        if name == "submits":
            bench.submits()
        else:
            bench.form(name)
    if given.markdown:
        print(report.markdown(bench.lines))
    else:
        report.show(Console(width=None if sys.stdout.isatty() else 120), bench.lines)
    print("kept in", report.keep(bench.lines, bench.details))
    missed = [line.name for line in bench.lines if line.is_kept is False]
    return int(given.strict and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
