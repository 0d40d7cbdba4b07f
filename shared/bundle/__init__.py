"""Bundle: a trained model as a folder, and the only thing that passes from trainer to worker."""
