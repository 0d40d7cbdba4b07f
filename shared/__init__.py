"""What trainer and worker must agree on: messages, text, models, bundles, registry, errors."""
