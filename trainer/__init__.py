"""Turns a labelled CSV into three classifiers, compares them, and registers the best one."""
