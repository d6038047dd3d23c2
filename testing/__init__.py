"""Real servers for tests and benchmarks; not part of the product."""
