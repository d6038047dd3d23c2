"""Faults injected into real processes while programs run.

`python -m executions.tests.faults` runs every scenario; each prints its seed, and
checks the invariants I1-I6 (see invariants.py) by SQL and by a scan of the host.
"""
