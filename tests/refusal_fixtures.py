"""Refusals as boto3 raises them."""

import botocore.exceptions


def refusal(code: str, operation: str, text: str = "no") -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError({"Error": {"Code": code, "Message": text}}, operation)
