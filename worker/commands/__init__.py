"""The commands of `triage-worker`, one per file."""
