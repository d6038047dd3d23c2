from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

PHP = Runtime(
    key="php",
    label="PHP",
    aliases=("php8",),
    source_name="main.php",
    run=("php", "{entry}"),
    version=("php", "--version"),
    packages=("php-cli",),
    paths=("/etc/php",),
    minimum={"memory_bytes": 16 * MIB},
    selftest='<?php\necho 6 * 7, "\\n";\n',
)
