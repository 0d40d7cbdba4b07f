"""The commands of `triage-trainer`, one per file."""
