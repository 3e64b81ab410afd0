"""Faults of real processes, and a checker that reads everything: `python -m faults`."""
