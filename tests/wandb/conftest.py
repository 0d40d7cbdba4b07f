"""The program and its environment, as the trainer's tests have them."""

from tests.trainer.conftest import environment, few, program, registry

__all__ = ["environment", "few", "program", "registry"]
