"""Fitting: recipes, inputs, the training loop, cross-validation and calibration."""
