"""The errors that Shoal raises. Programs look at the class, people read the message."""


class ShoalError(Exception):
    """The base class. The message is one line that says what is wrong and what to do."""


class SettingsError(ShoalError):
    """A setting is missing or wrong; the message names the environment variable."""


class Retryable(ShoalError):
    """The same call may succeed later: throttling, a timeout, a service that is starting."""


class StorageFull(Retryable):
    """The store has no space for an object. What it has stays; the same call succeeds once there is space."""


class BucketMissing(Retryable):
    """The bucket of a store does not exist. That says nothing about an object in it."""


class Permanent(ShoalError):
    """The same call will never succeed."""


class NotFound(Permanent):
    """The named object, queue, bucket or instance does not exist."""


class Changed(Permanent):
    """The object was overwritten since it was listed."""


class MalformedMessage(Permanent):
    """The body of a message is not Shoal's, or has an unknown version."""


class BadImage(Permanent):
    """The image cannot be labelled. The message can be shown to the person who sent it."""


class CapacityUnavailable(Retryable):
    """The cloud has no capacity for this instance type now, or the account's quota is used up."""


class LeaseLost(Permanent):
    """Another controller holds the lease: this one must not act."""
