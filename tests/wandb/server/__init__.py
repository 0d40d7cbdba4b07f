"""A small W&B server on the loopback address, which the real `wandb` client speaks to."""
