"""What a call to S3, SQS, SNS, DynamoDB or Lambda needs permissions for. Read as ministack reads the call."""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from ministack.core import iam_actions
from ministack.core.router import detect_service
from ministack.services import dynamodb, lambda_svc

from local_cloud import ACCOUNT
from local_cloud.guard.forms import form_needs
from local_cloud.guard.permissions import NeededPermission
from local_cloud.guard.signatures import SignedRequest, actions, form_parameters, signed_service

FUNCTION_URLS = "/_aws/lambda-url/"  # then the id of the URL; ministack's own path, and the only open one below /_aws
LEADING_KEYS = "dynamodb:leadingkeys"
# What a table's key is in these calls. No policy names the key of a call that is not here.
_KEYS = {"PutItem": "Item", "GetItem": "Key", "UpdateItem": "Key", "DeleteItem": "Key"}
_UNKNOWN_KEY = "\0"


class ServicesNeeds:
    """A function with a region."""

    def __init__(self, region: str) -> None:
        self._region = region

    def __call__(self, request: SignedRequest) -> Iterator[NeededPermission]:
        path, query, headers = urllib.parse.unquote(request.path), dict(request.parameters), dict(request.headers)
        if request.is_form:
            yield from form_needs(request)
            return
        if path.startswith(FUNCTION_URLS):
            yield from _function_url(path, request)
            return
        service = detect_service(request.method, path, headers, query)
        if service != signed_service(request) or len(actions(request)) > 1:
            # Another service than the signed one would answer, or it is not clear what is asked.
            yield NeededPermission("")
            return
        query = {**form_parameters(request), **query}
        action = iam_actions.extract_iam_action(service, request.method, path, headers, request.body, query) or ""
        if service == "sqs":
            # Calls with several messages need the permission of the call with one.
            action = action.removesuffix("Batch")
        if service == "dynamodb":
            yield from self._tables(action, request.body)
            return
        resource = iam_actions.extract_resource_arn(
            service, request.method, path, headers, request.body, query, self._region, ACCOUNT
        )
        context = iam_actions.s3_service_context(action, query, path, headers) if service == "s3" else {}
        yield NeededPermission(action, resource, {name.lower(): value for name, value in context.items()})
        if service == "s3":
            for further, other in iam_actions.s3_additional_checks(request.method, path, headers, request.body, query):
                yield NeededPermission(further, other)

    def _tables(self, action: str, body: bytes) -> Iterator[NeededPermission]:
        name = action.partition(":")[2]
        context = {key.lower(): value for key, value in iam_actions.dynamodb_service_context(body).items()}
        if name.startswith("Transact"):
            checks = iam_actions.dynamodb_transaction_checks(action, body, self._region, ACCOUNT)
            yield from (
                NeededPermission(one, arn, {**context, LEADING_KEYS: [_UNKNOWN_KEY]})
                for one, arn in checks or [("", "*")]
            )
            return
        arns = iam_actions.dynamodb_resource_arns(body, self._region, ACCOUNT) or ["*"]
        if name != "Scan":
            context[LEADING_KEYS] = [_leading_key(name, body)]
        yield from (NeededPermission(action, arn, context) for arn in arns)


def _function_url(path: str, request: SignedRequest) -> Iterator[NeededPermission]:
    """AWS asks for two permissions of who calls a function URL."""
    if signed_service(request) != "lambda":
        yield NeededPermission("")
        return
    found = lambda_svc.resolve_function_url(path.removeprefix(FUNCTION_URLS).partition("/")[0])
    if found is None:
        yield NeededPermission("lambda:InvokeFunctionUrl")
        return
    account, region, name, qualifier, config = found
    arn = f"arn:aws:lambda:{region}:{account}:function:{name}" + (f":{qualifier}" if qualifier else "")
    kind = {"lambda:functionurlauthtype": config.get("AuthType", "AWS_IAM")}
    yield NeededPermission("lambda:InvokeFunctionUrl", arn, kind)
    yield NeededPermission("lambda:InvokeFunction", arn, {"lambda:invokedviafunctionurl": "true"})


def _leading_key(action: str, body: bytes) -> str:
    """The value of the partition key that the call is about; a value that no policy names when it is not told."""
    try:
        asked: Any = json.loads(body)
        table = dynamodb._tables.get(asked["TableName"])
        [value] = asked[_KEYS[action]][table["pk_name"]].values()
    except (ValueError, LookupError, TypeError, AttributeError):
        return _UNKNOWN_KEY
    return str(value)
