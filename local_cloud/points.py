"""The guarded list: everything inside moto and ministack that this cloud uses and that they promise nobody.

Another version of these libraries may move any of it. `check` looks before anything is used, so that the cloud ends at
its start with a sentence that names what has moved.
"""

import functools
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from local_cloud import CloudError

Function = Callable[..., Any]


class PointMoved(CloudError):
    """The installed library is not the version that this cloud was written for; the text says what differs."""


@dataclass(frozen=True)
class LibraryPoint:
    """One name inside a library.

    owner:      the module, or `module:Class`.
    name:       a function, class, value or attribute. An attribute that a method of the class mentions counts as well.
    parameters: the parameters that the function must have; None does not look at them.
    """

    owner: str
    name: str
    parameters: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.owner.replace(':', '.')}.{self.name}"


def _names(owner: str, names: str) -> Iterable[LibraryPoint]:
    return (LibraryPoint(owner, name) for name in names.split())


def _function(owner: str, name: str, parameters: str) -> LibraryPoint:
    return LibraryPoint(owner, name, tuple(parameters.split()))


_INSTANCES = "moto.ec2.models.instances"
_INSTANCE = f"{_INSTANCES}:Instance"
_AMIS = "moto.ec2.models.amis"
_BACKEND = "moto.ec2.models:EC2Backend"
_GROUPS = "moto.autoscaling.models"
_GROUP = f"{_GROUPS}:FakeAutoScalingGroup"
_GROUPS_BACKEND = f"{_GROUPS}:AutoScalingBackend"
_EC2_RESPONSE = "moto.ec2.responses.instances:InstanceResponse"
_GROUPS_RESPONSE = "moto.autoscaling.responses:AutoScalingResponse"
_PICKER = "moto.core.serialize:XFormedAttributePicker"
_STS = "moto.sts.models"
_SERVER = "moto.moto_server.werkzeug_app"
_OBJECTS = "ministack.services.s3"
_FUNCTIONS = "ministack.services.lambda_svc"

# Checked before moto's EC2 is imported: what it reads while it is imported.
TABLES = (_function("moto.utilities.utils", "load_resource", "resource"),)

MOTO = (
    *_names("moto.ec2.models", "ec2_backends"),
    *_names("moto.ec2.models.instance_types", "INSTANCE_TYPES load_resource"),
    *_names("moto.ec2.exceptions", "EC2ClientError InvalidAMIIdError"),
    _function("moto.ec2.utils", "random_spot_request_id", ""),
    # instances
    *_names(_INSTANCES, "Instance InstanceBackend InstanceState Reservation StateReason"),
    _function(_INSTANCES, "InstanceState", "name code"),
    _function(_INSTANCES, "StateReason", "message code"),
    _function(_INSTANCES, "Reservation", "reservation_id owner_id"),
    *_names(f"{_INSTANCES}:Reservation", "id instances"),
    _function(
        f"{_INSTANCES}:InstanceBackend", "run_instances", "self image_id count user_data security_group_names kwargs"
    ),
    _function(_INSTANCE, "__init__", "self ec2_backend image_id user_data security_groups kwargs"),
    *(_function(_INSTANCE, name, "self") for name in ("terminate", "stop", "start", "reboot", "get_tags")),
    *_names(_INSTANCE, "_reason _state _subnet_id ami_launch_index architecture availability_zone disable_api_stop"),
    *_names(_INSTANCE, "disable_api_termination ec2_backend iam_instance_profile id image_id"),
    *_names(_INSTANCE, "instance_initiated_shutdown_behavior instance_type key_name launch_time lifecycle"),
    *_names(_INSTANCE, "metadata_options private_dns_name private_ip security_groups state_reason user_data"),
    *_names("moto.ec2.models.spot_requests:SpotInstanceRequest", "id"),
    _function(_EC2_RESPONSE, "run_instances", "self"),
    _function(_EC2_RESPONSE, "modify_instance_attribute", "self"),
    _function(_EC2_RESPONSE, "_get_param", "self param_name if_none"),
    *_names(_EC2_RESPONSE, "data ec2_backend"),
    _function("moto.ec2.responses.general:General", "get_console_output", "self"),
    # the other books of EC2
    _function(_BACKEND, "_get_template_from_args", "self launch_template_arg"),
    _function(
        _BACKEND,
        "associate_iam_instance_profile",
        "self instance_id iam_instance_profile_name iam_instance_profile_arn",
    ),
    _function(_BACKEND, "get_instance", "self instance_id"),
    *_names(_BACKEND, "amis iam_instance_profile_associations key_pairs region_name reservations tags"),
    *_names(
        "moto.ec2.models.iam_instance_profile:IamInstanceProfileAssociation", "association_id iam_instance_profile"
    ),
    *_names("moto.ec2.models.key_pairs:KeyPair", "key_fingerprint material_public"),
    *_names("moto.ec2.models.launch_templates:LaunchTemplateVersion", "data"),
    _function("moto.ec2.models.launch_templates:LaunchTemplate", "get_version", "self num"),
    # images
    *_names(_AMIS, "Ami AmiBackend"),
    _function(f"{_AMIS}:AmiBackend", "create_image", "self instance_id name description tag_specifications"),
    _function(f"{_AMIS}:AmiBackend", "copy_image", "self source_image_id source_region name description"),
    _function(f"{_AMIS}:AmiBackend", "register_image", "self name description"),
    _function(f"{_AMIS}:AmiBackend", "deregister_image", "self ami_id"),
    *_names(f"{_AMIS}:Ami", "add_tags architecture creation_date description get_tags id image_location name state"),
    *_names(f"{_AMIS}:Ami", "virtualization_type"),
    # groups
    *_names(_GROUPS, "AutoScalingBackend FakeAutoScalingGroup autoscaling_backends"),
    *_names("moto.autoscaling.exceptions", "AutoscalingClientError ValidationError"),
    _function(_GROUP, "set_desired_capacity", "self new_capacity"),
    _function(_GROUP, "replace_autoscaling_group_instances", "self count_needed propagated_tags"),
    _function(_GROUP, "active_instances", "self"),
    _function(_GROUP, "get_propagated_tags", "self"),
    *_names(_GROUP, "suspended_processes desired_capacity instance_states launch_template_version max_size min_size"),
    *_names(_GROUP, "name ec2_launch_template"),
    *_names(f"{_GROUPS}:InstanceState", "health_status instance lifecycle_state protected_from_scale_in"),
    _function(_GROUPS_BACKEND, "delete_auto_scaling_group", "self group_name"),
    _function(_GROUPS_BACKEND, "notify_terminate_instances", "self instance_ids"),
    _function(_GROUPS_BACKEND, "terminate_instance", "self instance_id should_decrement"),
    *_names(_GROUPS_BACKEND, "autoscaling_groups"),
    _function(_GROUPS_RESPONSE, "delete_auto_scaling_group", "self"),
    _function(_GROUPS_RESPONSE, "_get_bool_param", "self param_name if_none"),
    *_names(_GROUPS_RESPONSE, "_get_param autoscaling_backend"),
    # roles
    *_names(_STS, "sts_backends"),
    _function(
        f"{_STS}:STSBackend",
        "assume_role",
        "self region_name role_session_name role_arn policy duration external_id",
    ),
    *_names(f"{_STS}:AssumedRole", "access_key_id expiration role_arn secret_access_key session_name session_token"),
    *_names("moto.iam.models:InstanceProfile", "arn roles"),
    *_names("moto.iam.models", "iam_backends"),
    *_names("moto.iam.models:IAMBackend", "roles"),
    *_names("moto.iam.models:Role", "arn managed_policies name policies"),
    *_names("moto.iam.models:Policy", "versions default_version_id"),
    *_names("moto.iam.models:PolicyVersion", "document version_id"),
    # requests, answers, ids and the clock
    *_names("moto.core.exceptions", "ServiceException"),
    *_names("moto.core.responses", "ActionResult EmptyResult"),
    *_names("moto.core.types", "Base64EncodedString"),
    *_names("moto.core.utils", "datetime"),
    _function(_PICKER, "get_possible_keys", "self context"),
    *_names("moto.core.serialize:AttributePickerContext", "key obj shape"),
    *_names("moto.moto_api._internal", "mock_random"),
    _function("moto.moto_api._internal.moto_random:MotoRandom", "seed", "self a version"),
    *_names(_SERVER, "DomainDispatcherApplication MotoRequestHandler"),
    _function(_SERVER, "create_backend_app", "service"),
    *_names(f"{_SERVER}:DomainDispatcherApplication", "app_instances"),
)

_SIGV4 = "ministack.core.sigv4"

_EVALUATOR = "ministack.core.iam_evaluator"
_ACTIONS = "ministack.core.iam_actions"

# What checks signatures and policies, in both processes.
GUARD = (
    *_names(_EVALUATOR, "EvalContext ParsedStatement"),
    _function(_EVALUATOR, "parse_policy_document", "doc"),
    _function(_EVALUATOR, "evaluate", "ctx policies limits"),
    *_names(f"{_EVALUATOR}:EvalResult", "decision"),
    _function(_ACTIONS, "identity_denial_message", "action principal_arn resource explicit_deny"),
    *_names(_SIGV4, "SIGNATURE_MISMATCH"),
    _function(_SIGV4, "parse_query_signature", "query_params"),
    _function(_SIGV4, "parse_header_signature", "headers"),
    *_names(f"{_SIGV4}:HeaderSignature", "access_key_id service region_set signed_headers signature amz_date"),
    _function(_SIGV4, "request_time_failure", "signature now"),
    _function(
        _SIGV4,
        "header_signature_failure",
        "signature secret method raw_path query_params headers body presigned explain",
    ),
    _function(_SIGV4, "presigned_request_is_expired", "amz_date expires now"),
    _function(_SIGV4, "calculate_signature", "secret date_stamp region service string_to_sign"),
    _function(_SIGV4, "signatures_match", "computed provided"),
    _function(_SIGV4, "decode_header_value", "value"),
    _function(
        _ACTIONS,
        "access_denied_response",
        "service action principal_arn request_id error_code message headers resource_arn explicit_deny"
        " resource_policy_arn",
    ),
)

MINISTACK = (
    _function("ministack.services.sqs", "_restore_state", "data"),
    _function("ministack.services.sqs", "_queue_url_for_account", "account_id name"),
    *GUARD,
    _function("ministack.core.router", "detect_service", "method path headers query_params"),
    _function(_ACTIONS, "extract_iam_action", "service method path headers body query_params"),
    _function(_ACTIONS, "extract_resource_arn", "service method path headers body query_params region account_id"),
    _function(_ACTIONS, "s3_additional_checks", "method path headers body query_params"),
    _function(_ACTIONS, "s3_service_context", "iam_action query_params path headers"),
    _function(_ACTIONS, "dynamodb_service_context", "body"),
    _function(_ACTIONS, "dynamodb_resource_arns", "body region account_id"),
    _function(_ACTIONS, "dynamodb_transaction_checks", "iam_action body region account_id"),
    *_names("ministack.services.dynamodb", "_tables"),
    _function("ministack.services.s3", "_parse_multipart_form", "content_type body"),
    _function("ministack.services.s3", "_verify_presigned_sigv4", "method path headers query_params"),
    _function("ministack.services.s3", "cors_preflight", "bucket_name key headers"),
    _function("ministack.services.s3", "cors_response_headers", "bucket_name method headers"),
    _function("ministack.app", "app", "scope receive send"),
    _function("ministack.app", "_build_persistence_save_dict", ""),
    _function("ministack.core.persistence", "save_all", "services"),
    *_names("ministack.core.persistence", "logger"),
    _function(_OBJECTS, "_persist_object", "bucket key obj"),
    _function(_OBJECTS, "_record_object_version", "bucket_name key prior_obj obj data"),
    _function(_OBJECTS, "_object_disk_path", "bucket key account_id"),
    _function(_OBJECTS, "_object_meta_from_record", "obj"),
    _function(_OBJECTS, "_key_history_meta", "bucket_name key"),
    _function(_OBJECTS, "_key_disk_path", "base key"),
    _function(_OBJECTS, "_plain_path_key", "key"),
    _function(_OBJECTS, "_encoded_key_name", "key"),
    _function(_OBJECTS, "_persisted_key_files", "bucket_path sidecars"),
    *_names(_OBJECTS, "_ENCODED_KEYS_DIR _buckets"),
    _function("ministack.core.lambda_runtime", "execution_credentials", "config"),
    _function(_FUNCTIONS, "execution_credentials", "config"),
    _function(_FUNCTIONS, "invoke_async_with_retry", "func event"),
    _function(_FUNCTIONS, "_execute_function", "func event"),
    _function(_FUNCTIONS, "_create_function_url_config", "func_name data qualifier"),
    _function(_FUNCTIONS, "_get_function_url_config", "func_name qualifier"),
    _function(_FUNCTIONS, "_update_function_url_config", "func_name data qualifier"),
    _function(_FUNCTIONS, "_list_function_url_configs", "func_name query_params"),
    _function(_FUNCTIONS, "resolve_function_url", "url_id"),
    _function(
        _FUNCTIONS,
        "handle_function_url_request",
        "url_id method path headers body query_params resolved source_ip",
    ),
)


def check(points: Iterable[LibraryPoint]) -> None:
    """Raises PointMoved for the first point that is not what it was. Only before anything is replaced."""
    for point in points:
        owner = _owner(point)
        found: Any = getattr(owner, point.name, None)
        if found is None and not _is_declared(owner, point.name):
            raise PointMoved(f"{_library(point)} has no {point} any more")
        if point.parameters is not None:
            parameters = tuple(inspect.signature(found).parameters)
            if parameters != point.parameters:
                raise PointMoved(f"in {_library(point)} {point} takes {parameters} instead of {point.parameters}")


def _owner(point: LibraryPoint) -> Any:
    module, _, kind = point.owner.partition(":")
    try:
        owner = importlib.import_module(module)
        return getattr(owner, kind) if kind else owner
    except (ImportError, AttributeError) as error:
        raise PointMoved(f"{_library(point)} has no {point} any more: {error}") from error


def _library(point: LibraryPoint) -> str:
    name = point.owner.partition(".")[0]
    return f"{name} {importlib.metadata.version(name)}"


def _is_declared(owner: Any, name: str) -> bool:
    """Whether instances of the class have the attribute: by an annotation, or because a method mentions it."""
    for kind in getattr(owner, "__mro__", (owner,)):
        codes = [getattr(method, "__code__", None) for method in vars(kind).values()]
        if name in inspect.get_annotations(kind) or any(name in code.co_names for code in codes if code):
            return True
    return False


def replace(owner: Any, name: str, wrap: Callable[[Function], Function]) -> None:
    """Put `wrap(original)` in the place of the original."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrap(original)))
