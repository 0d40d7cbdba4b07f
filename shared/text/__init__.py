"""Text → ids: lemmas, tokens and the encoder that remembers them."""
