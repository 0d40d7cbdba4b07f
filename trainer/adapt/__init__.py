"""Adaptation: a bundle learns from some labelled tweets of one crisis."""
