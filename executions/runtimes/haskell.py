from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

HASKELL = Runtime(
    key="haskell",
    label="Haskell (GHC)",
    aliases=("hs", "ghc"),
    source_name="main.hs",
    compile=("ghc", "-O", "-v0", "-outputdir", "build", "-o", "a.out", "{entry}"),
    run=("./a.out",),
    version=("ghc", "--version"),
    packages=("ghc",),
    paths=("/var/lib/ghc",),
    compile_minimum={"max_processes": threads(12, 2), "memory_bytes": 256 * MIB},
    selftest="main :: IO ()\nmain = print (6 * 7)\n",
)
