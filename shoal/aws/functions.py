"""The venue `lambda`: a Lambda function that labels what is stored under a prefix of the input bucket."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from shoal.aws.clients import client, error_code, our_errors, use
from shoal.aws.label_tables import create_tables, remove_tables
from shoal.aws.on_lambda.making import WantedFunction, check_image, create_function, create_role, remove_role
from shoal.aws.sqs import create_queue, queue_arn
from shoal.errors import NotFound, Permanent, SettingsError
from shoal.settings import Settings

STATEMENT = "TheInputBucketAnnouncesPhotos"
RETRIES = 2  # as AWS's own default


def prepare_function(settings: Settings) -> None:
    """Make the tables, the queue of failed events, the role, the function and its trigger. Safe to repeat.

    The buckets must exist. Raises SettingsError when the settings do not fit together.
    """
    _check(settings)
    use(settings.cloud)
    sqs = client("sqs")
    create_tables(client("dynamodb"), settings.images_table, settings.labels_table)
    create_queue(sqs, settings.function_failed_queue, settings.visibility_seconds)
    wanted = WantedFunction(
        settings.function, "lambda-policy.json", "app_tier.lambda_handler.handler", "The Lambda function", {}
    )
    role = create_role(client("iam"), settings, wanted)
    create_function(client("lambda"), settings, wanted, role)
    function = _keep_failed_events(client("lambda"), settings, queue_arn(sqs, settings.function_failed_queue))
    _set_trigger(client("s3"), client("lambda"), settings, function)


def function_exists(settings: Settings) -> bool:
    """Whether `prepare_function` has made the function. Raises Permanent and Retryable as every call."""
    use(settings.cloud)
    try:
        with our_errors(f"function {settings.function}"):
            client("lambda").get_function(FunctionName=settings.function)
    except NotFound:
        return False
    return True


def remove_function(settings: Settings) -> int:
    """Delete what `prepare_function` made. Returns the number of failed events, whose queue stays when there are any.

    Photos and results stay.
    """
    use(settings.cloud)
    _delete_function(client("lambda"), client("s3"), settings)
    remove_role(client("iam"), settings.function)
    remove_tables(client("dynamodb"), settings.images_table, settings.labels_table)
    return _remove_queue(client("sqs"), settings.function_failed_queue)


def _delete_function(functions: Any, s3: Any, settings: Settings) -> None:
    name = settings.function
    try:
        with our_errors(f"function {name}"):
            arn = functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    except NotFound:
        return
    with suppress(NotFound):  # the bucket is deleted, and its notifications with it
        _notify(s3, settings.in_bucket, arn, None)
    with our_errors(f"delete function {name}"):
        functions.delete_function(FunctionName=name)


def _check(settings: Settings) -> None:
    prefix, intake = settings.lambda_prefix, settings.intake_prefix
    if not prefix:
        raise SettingsError("SHOAL_LAMBDA_PREFIX is empty: the function would label the pool's photos once more")
    if intake and (prefix.startswith(intake) or intake.startswith(prefix)):
        raise SettingsError(
            f"SHOAL_LAMBDA_PREFIX ({prefix}) and SHOAL_INTAKE_PREFIX ({intake}) overlap: every photo would be labelled "
            "twice"
        )
    check_image(settings)


def _keep_failed_events(functions: Any, settings: Settings, failed_queue: str) -> str:
    """Let events that failed go to a queue; returns the ARN of the function."""
    name = settings.function
    with our_errors(f"set up function {name}"):
        functions.put_function_event_invoke_config(
            FunctionName=name,
            MaximumRetryAttempts=RETRIES,
            DestinationConfig={"OnFailure": {"Destination": failed_queue}},
        )
        return str(functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"])


def _set_trigger(s3: Any, functions: Any, settings: Settings, function: str) -> None:
    """Let the input bucket invoke the function for each new object under the prefix."""
    partition, account = function.split(":")[1], function.split(":")[4]
    try:
        with our_errors(f"permission of function {settings.function}"):
            functions.add_permission(
                FunctionName=settings.function,
                StatementId=STATEMENT,
                Action="lambda:InvokeFunction",
                Principal="s3.amazonaws.com",
                SourceArn=f"arn:{partition}:s3:::{settings.in_bucket}",
                SourceAccount=account,
            )
    except Permanent as error:
        if error_code(error) != "ResourceConflictException":  # it has the permission
            raise
    _notify(s3, settings.in_bucket, function, settings.lambda_prefix)


def _notify(s3: Any, bucket: str, function: str, prefix: str | None) -> None:
    """Let `bucket` tell `function` of new objects under `prefix`, or of none. Other notifications stay."""
    with our_errors(f"notifications of {bucket}"):
        found = s3.get_bucket_notification_configuration(Bucket=bucket)
        found.pop("ResponseMetadata", None)
        rules = [one for one in found.get("LambdaFunctionConfigurations", ()) if one["LambdaFunctionArn"] != function]
        if prefix is not None:
            rules.append(
                {
                    "LambdaFunctionArn": function,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}},
                }
            )
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={**found, "LambdaFunctionConfigurations": rules}
        )


def _remove_queue(sqs: Any, name: str) -> int:
    """Delete a queue without messages; returns how many it has."""
    try:
        with our_errors(f"queue {name}"):
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
            waiting = sum(int(answer[one]) for one in counts)
            if not waiting:
                sqs.delete_queue(QueueUrl=url)
            return waiting
    except NotFound:
        return 0
