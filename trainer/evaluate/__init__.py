"""Evaluation: metrics, their uncertainty, thresholds, behaviour, groups and the promotion gate."""
