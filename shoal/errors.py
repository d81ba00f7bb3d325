"""Every error that Shoal raises on purpose. Callers switch on the class, people read the message."""


class ShoalError(Exception):
    """Root of all our errors. Its message is one line that says what is wrong and what to do."""


class SettingsError(ShoalError):
    """A setting is missing or wrong; the message names the environment variable."""


class Retryable(ShoalError):
    """The same call may go through later: throttling, a timeout, a service that is starting."""


class Permanent(ShoalError):
    """The same call will never go through."""


class NotFound(Permanent):
    """The named object, queue, bucket or instance does not exist."""


class MalformedMessage(Permanent):
    """A message body that is not one of ours, or of a version that we do not know."""


class BadImage(Permanent):
    """These bytes cannot be labelled; the message is fit to be shown to the person who sent them."""


class CapacityUnavailable(Retryable):
    """The cloud has no machine of this kind to give at the moment, or our quota there is used up."""


class LeaseLost(Permanent):
    """Another holder has the lease by now: what this one still wants to do must not be done."""
