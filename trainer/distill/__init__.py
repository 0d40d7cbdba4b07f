"""Distillation: teachers, variants of the texts, and the soft labels of both."""
