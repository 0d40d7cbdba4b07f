"""Fitting: recipes, corpus, the training loop and the search space of sweeps."""
