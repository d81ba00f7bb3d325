"""The venue `lambda`: a Lambda function that labels what is stored under a prefix of the input bucket."""

from __future__ import annotations

import io
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from shoal.aws.clients import client, error_code, our_errors, use
from shoal.aws.iam import policy_document, trust
from shoal.aws.label_tables import create_tables, remove_tables
from shoal.aws.sqs import create_queue, queue_arn
from shoal.errors import NotFound, Permanent, SettingsError
from shoal.folders import folder
from shoal.settings import Settings

HANDLER = "app_tier.lambda_handler.handler"
RUNTIME = "python3.11"
PACKAGES = ("app_tier", "inference", "shoal")
POLICY = folder("ami") / "lambda-policy.json"
STATEMENT = "TheInputBucketAnnouncesPhotos"
RETRIES = 2  # as AWS's own default
ROLE_SECONDS = 60.0  # IAM tells Lambda of a new role within seconds
PAUSE_SECONDS = 2.0


def prepare_function(settings: Settings) -> None:
    """Make the tables, the queue of failed events, the role, the function and its trigger. Safe to repeat.

    The buckets must exist. Raises SettingsError when the settings do not fit together.
    """
    _check(settings)
    use(settings.cloud)
    sqs = client("sqs")
    create_tables(client("dynamodb"), settings.images_table, settings.labels_table)
    create_queue(sqs, settings.function_failed_queue, settings.visibility_seconds)
    role = _create_role(client("iam"), settings)
    function = _create_function(client("lambda"), settings, role, queue_arn(sqs, settings.function_failed_queue))
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
    _remove_role(client("iam"), settings.function)
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
    if not settings.lambda_image and not settings.emulated:
        raise SettingsError("on AWS the function needs a container image: set SHOAL_LAMBDA_IMAGE (ami/README.md)")


def _create_role(iam: Any, settings: Settings) -> str:
    """Make the role or update its policy; returns its ARN."""
    name = settings.function
    try:
        with our_errors(f"role {name}"):
            role = iam.get_role(RoleName=name)["Role"]
    except NotFound:
        with our_errors(f"create role {name}"):
            role = iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=trust("lambda", iam.meta.partition),
                Description=f"The Lambda function of the Shoal {settings.prefix}",
            )["Role"]
    with our_errors(f"policy of role {name}"):
        document = policy_document(POLICY, settings.prefix, iam.meta.partition)
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=document)
    return str(role["Arn"])


def _remove_role(iam: Any, name: str) -> None:
    try:
        with our_errors(f"delete role {name}"):
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
            iam.delete_role(RoleName=name)
    except NotFound:
        return


def _create_function(functions: Any, settings: Settings, role: str, failed_queue: str) -> str:
    """Make the function or update its code and its settings; returns its ARN."""
    name = settings.function
    options = {
        "FunctionName": name,
        "Role": role,
        "MemorySize": settings.lambda_memory_mb,
        "Timeout": settings.lambda_seconds,
        "Environment": {"Variables": _variables(settings)},
    }
    zipped = {} if settings.lambda_image else {"Runtime": RUNTIME, "Handler": HANDLER}
    code = {"ImageUri": settings.lambda_image} if settings.lambda_image else {"ZipFile": _code()}
    try:
        with our_errors(f"function {name}"):
            functions.get_function(FunctionName=name)
    except NotFound:
        kind = "Image" if settings.lambda_image else "Zip"
        _create_when_role_is_known(functions, {**options, **zipped, "PackageType": kind, "Code": code})
    else:
        with our_errors(f"update function {name}"):
            functions.get_waiter("function_active_v2").wait(
                FunctionName=name
            )  # made a moment ago, by an interrupted call
            functions.update_function_code(FunctionName=name, **code)
            functions.get_waiter("function_updated_v2").wait(FunctionName=name)
            functions.update_function_configuration(**options, **zipped)
    with our_errors(f"set up function {name}"):
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=settings.lambda_concurrency)
        functions.put_function_event_invoke_config(
            FunctionName=name,
            MaximumRetryAttempts=RETRIES,
            DestinationConfig={"OnFailure": {"Destination": failed_queue}},
        )
        return str(functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"])


def _create_when_role_is_known(functions: Any, options: dict[str, Any]) -> None:
    deadline = time.monotonic() + ROLE_SECONDS
    while True:
        try:
            with our_errors(f"create function {options['FunctionName']}"):
                functions.create_function(**options)
            return
        except Permanent as error:
            is_new = error_code(error) == "InvalidParameterValueException" and "role" in str(error)
            if not is_new or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def _variables(settings: Settings) -> dict[str, str]:
    """The environment of the function. A container image brings its models and names their folder itself."""
    values = {name: value for name, value in settings.for_worker().items() if value}
    if not settings.lambda_image:
        values["SHOAL_CACHE_DIR"] = str(settings.cache_dir.absolute())
    return values


def _code() -> bytes:
    """A zip file with the code; the packages that it needs are installed where the embedded cloud runs."""
    root = Path(__file__).resolve().parents[2]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in {".py", ".csv"}:
                    archive.write(path, path.relative_to(root))
    return packed.getvalue()


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
