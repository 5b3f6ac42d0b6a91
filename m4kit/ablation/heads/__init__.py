"""The studies of the weights of the heads."""
