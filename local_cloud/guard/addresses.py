"""Which of this cloud's two addresses answers for a service, and which variable names it."""

from local_cloud.guard.refusal import Refused

SERVICES = ("s3", "sqs", "sns", "dynamodb", "lambda")
"""What ministack answers for, as signatures name it; moto answers for all else."""


def variable(service: str) -> str:
    """The variable of the env file with the address for a service."""
    return f"AWS_ENDPOINT_URL_{service.upper()}" if service in SERVICES else "AWS_ENDPOINT_URL"


def check_address(service: str, of_ministack: bool) -> None:
    """Raise Refused for a call that came to the address of other services: there it would find nothing, and no error.

    service: as the signature names it; a call without one passes.
    """
    if service and (service in SERVICES) != of_ministack:
        right = variable(service)
        raise Refused(
            "InvalidAddress",
            f"{service} is not at this address: its address is in {right} (aws --endpoint-url ${right} {service} ...)",
        )
