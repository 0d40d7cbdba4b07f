"""The commands of `triage-worker`, one a file."""
