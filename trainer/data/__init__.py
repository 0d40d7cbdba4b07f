"""Labelled tweets: fetch, read, split, find duplicates, slice."""
