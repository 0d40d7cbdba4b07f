"""Distillation: a teacher's soft labels for tweets and for variants of them."""
