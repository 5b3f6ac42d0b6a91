"""Training of M4Net and of the detector: labels, crops, augmentation, losses, loops, and the failure score."""


class TrainingError(ValueError):
    """A training cannot start, continue or resume; the message tells why and what to do."""


class Diverged(TrainingError):
    """The loss is no longer finite."""
