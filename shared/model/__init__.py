"""Model: word ids → probabilities, in Keras and in NumPy."""
