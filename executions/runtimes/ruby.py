from __future__ import annotations

from executions.runtimes.base import Runtime

RUBY = Runtime(
    key="ruby",
    label="Ruby",
    aliases=("rb",),
    source_name="main.rb",
    run=("ruby", "{entry}"),
    version=("ruby", "--version"),
    packages=("ruby",),
    selftest="puts 6 * 7\n",
)
