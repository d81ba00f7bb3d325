"""AWS on one machine: two emulators behind one command, and instances that are real process trees."""

ACCOUNT = "123456789012"
"""The one account that both emulators answer for."""


class CloudError(Exception):
    """A fault whose text is all that a user needs to mend it."""
