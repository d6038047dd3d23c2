"""Hostile and benign programs, what must come of each, and the runner that proves it.

`python -m executions.tests.suites --url … --key …` drives them at a running server.
"""
