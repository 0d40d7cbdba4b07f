"""Bundle: a trained model as a folder, with its manifest and the quality that training measured."""
