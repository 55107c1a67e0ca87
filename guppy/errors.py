"""The one error that a person can cause."""

from __future__ import annotations


class GuppyError(ValueError):
    """Something a person gave us does not work; the message is one sentence that says what and how to mend it.

    The command line prints it as one line and exits with code 1; the lab shows it as it is.
    """
