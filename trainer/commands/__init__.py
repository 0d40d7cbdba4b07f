"""The commands of `triage-trainer`, one a file."""
