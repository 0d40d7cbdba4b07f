"""Text → token numbers: rewrite, lemmas, tokens, encoder."""
