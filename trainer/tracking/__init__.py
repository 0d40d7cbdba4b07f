"""Tracking in Weights & Biases: runs, sweeps, and what becomes of them where W&B fails."""
