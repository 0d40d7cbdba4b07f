"""The model in the worker: follow an alias of the registry, and shadow another one."""
