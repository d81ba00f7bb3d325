"""AWS on one machine: two emulators behind one command, and instances that are real process trees."""

ACCOUNT = "123456789012"
"""The one account that both emulators answer for."""

STATE_VARIABLE = "LOCAL_CLOUD_STATE"
"""Every process of a cloud but the first has its state folder in this environment variable, so that it can be found."""


class CloudError(Exception):
    """An error whose text tells the user what is wrong and what to do."""
