"""How M4Net is trained: labels and crops, augmentation, losses, the start from 3DDFA-V2, and the loop."""


class TrainingError(ValueError):
    """A training cannot start, go on or be resumed; the message says why and what to do."""


class Diverged(TrainingError):
    """The loss is no longer finite."""
