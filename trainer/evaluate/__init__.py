"""Evaluation: metrics, intervals, thresholds, behaviour, and the gate before promotion."""
