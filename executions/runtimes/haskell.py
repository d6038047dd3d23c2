from __future__ import annotations

from executions.runtimes.base import Runtime

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
    selftest="main :: IO ()\nmain = print (6 * 7)\n",
)
