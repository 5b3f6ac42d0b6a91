"""The study of the activation functions."""
