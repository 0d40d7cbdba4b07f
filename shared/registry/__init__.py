"""Registry: versions of bundles and the aliases that name them, in a folder or in W&B."""
