"""Measures the product beside the floors of the machine, in the same run.

Absolute times say little: they change by the hour. So each row is measured turn by turn
with its floor, and the ratio of the two is what counts.
"""
