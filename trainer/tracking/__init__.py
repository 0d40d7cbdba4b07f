"""Tracking in Weights & Biases: runs and sweeps, and what happens when W&B fails."""
