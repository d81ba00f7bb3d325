"""Makes a Lambda function and its role, or brings them up to date, and removes them."""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.aws.clients import error_code, our_errors
from shoal.aws.iam import policy_document, trust
from shoal.errors import NotFound, Permanent, SettingsError
from shoal.folders import folder
from shoal.settings import Settings

RUNTIME = "python3.11"
PACKAGES = ("app_tier", "inference", "shoal")
ROLE_SECONDS = 60.0  # IAM tells Lambda of a new role within seconds
PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class WantedFunction:
    """A function. name: its own and that of its role. policy: the file in `ami/` with what the role may do.

    handler: the Python function that answers. about: for people. variables: besides a worker's settings.
    """

    name: str
    policy: str
    handler: str
    about: str
    variables: dict[str, str]


def check_image(settings: Settings) -> None:
    """Raise SettingsError where a function needs an image that the settings do not name."""
    if not settings.lambda_image and not settings.emulated:
        raise SettingsError("on AWS the function needs a container image: set SHOAL_LAMBDA_IMAGE (ami/README.md)")


def create_role(iam: Any, settings: Settings, wanted: WantedFunction) -> str:
    """Make the role or update its policy; returns its ARN."""
    name = wanted.name
    try:
        with our_errors(f"role {name}"):
            role = iam.get_role(RoleName=name)["Role"]
    except NotFound:
        with our_errors(f"create role {name}"):
            role = iam.create_role(
                RoleName=name,
                AssumeRolePolicyDocument=trust("lambda", iam.meta.partition),
                Description=f"{wanted.about} of the Shoal {settings.prefix}",
            )["Role"]
    with our_errors(f"policy of role {name}"):
        document = policy_document(folder("ami") / wanted.policy, settings.prefix, iam.meta.partition)
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=document)
    return str(role["Arn"])


def remove_role(iam: Any, name: str) -> None:
    """Delete the role, if it is there."""
    try:
        with our_errors(f"delete role {name}"):
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
            iam.delete_role(RoleName=name)
    except NotFound:
        return


def create_function(functions: Any, settings: Settings, wanted: WantedFunction, role: str) -> None:
    """Make the function or update its code and its settings. role: its ARN. Returns when it can be called."""
    name, image = wanted.name, settings.lambda_image
    options = {
        "FunctionName": name,
        "Role": role,
        "MemorySize": settings.lambda_memory_mb,
        "Timeout": settings.lambda_seconds,
        "Environment": {"Variables": _variables(settings) | wanted.variables},
    }
    kind = {"ImageConfig": {"Command": [wanted.handler]}} if image else {"Runtime": RUNTIME, "Handler": wanted.handler}
    code = {"ImageUri": image} if image else {"ZipFile": _code()}
    try:
        with our_errors(f"function {name}"):
            functions.get_function(FunctionName=name)
    except NotFound:
        package = "Image" if image else "Zip"
        _create_when_role_is_known(functions, {**options, **kind, "PackageType": package, "Code": code})
    else:
        with our_errors(f"update function {name}"):
            functions.get_waiter("function_active_v2").wait(
                FunctionName=name
            )  # made a moment ago, by an interrupted call
            functions.update_function_code(FunctionName=name, **code)
            functions.get_waiter("function_updated_v2").wait(FunctionName=name)
            functions.update_function_configuration(**options, **kind)
    with our_errors(f"set up function {name}"):
        functions.get_waiter("function_active_v2").wait(FunctionName=name)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=settings.lambda_concurrency)


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
    root = Path(__file__).resolve().parents[3]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*")):
                if path.suffix in {".py", ".csv"}:
                    archive.write(path, path.relative_to(root))
    return packed.getvalue()
