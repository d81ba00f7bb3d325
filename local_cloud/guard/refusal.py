"""The reason why a call is not let through."""


class Refused(Exception):
    """The caller is not who it says it is, or may not do this. `code` is AWS's name for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
