"""Makes the cloud lie and fail as the real cloud does. Off by default; drawn from a seed; every fault is written down.

A caller that signs with the access key id HONEST meets no faults: a test must be able to see the true state.
"""

HONEST = "honest"


def is_spared(authorization: str) -> bool:
    """Whether the header says that the caller signs as HONEST. Its secret key is the owner's."""
    return f"Credential={HONEST}/" in authorization
