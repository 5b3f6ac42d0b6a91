"""Files of study records."""


class RecordError(ValueError):
    """A study record is missing, broken, or of another version."""
