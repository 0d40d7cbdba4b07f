"""Model: token numbers → probabilities, in NumPy on a CPU and in Keras on a GPU."""
