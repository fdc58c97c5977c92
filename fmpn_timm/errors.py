"""The one exception for what a user can mend."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input. The message names the file (or option) and the mend; command lines print it without a traceback."""
