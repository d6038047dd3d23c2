from __future__ import annotations

from executions.runtimes.base import Runtime

PERL = Runtime(
    key="perl",
    label="Perl 5",
    aliases=("pl", "perl5"),
    source_name="main.pl",
    run=("perl", "{entry}"),
    version=("perl", "--version"),
    packages=("perl",),
    selftest='print 6 * 7, "\\n";\n',
)
