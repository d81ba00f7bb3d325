"""An AWS account in this process, as far as `shoal deploy` and `destroy` look at it: quick, to fail at every call.

What stacks make is read from the template; the real CloudFormation of emulators is in test_deployment.py.
"""

# ruff: noqa: N803 - the names of parameters are AWS' own

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import botocore.exceptions

from shoal.deployment import template_file
from tests.deployment_fixtures import refusal

LOOKS = 2  # at a stack that changes, before it has changed
NAMES = {"AWS::S3::Bucket": "BucketName", "AWS::SQS::Queue": "QueueName", "AWS::DynamoDB::Table": "TableName"}
KEPT = ("InBucket", "OutBucket")
Members = Mapping[str, Any]
# What is asked of an account that never changes here.
FACTS: dict[str, Any] = {
    "get_caller_identity": {"Arn": "arn:aws:iam::1:user/me"},
    "get_service_quota": {"Quota": {"Value": 64.0}},
    "describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
    "describe_subnets": {"Subnets": [{"SubnetId": "subnet-1", "AvailabilityZone": "z"}]},
    "describe_instance_type_offerings": {"InstanceTypeOfferings": [{"InstanceType": "t3.medium", "Location": "z"}]},
    "describe_images": {"Images": []},
    "describe_auto_scaling_groups": {"AutoScalingGroups": []},
    "describe_log_groups": {"logGroups": []},
    "describe_alarms": {"MetricAlarms": []},
    "list_dashboards": {"DashboardEntries": []},
    "describe_security_groups": {"SecurityGroups": []},
    "describe_tags": {"Tags": []},
    "describe_volumes": {"Volumes": []},
    "describe_stack_events": {"StackEvents": []},
    "describe_events": {"OperationEvents": []},
    "add_tags_to_resource": {},
}


class Killed(BaseException):
    """The process ends here: what it would still do does not happen."""


class AccountInMemory:
    """The account. before, after: are told the number of each call, and may raise in its place or behind it."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.calls: list[str] = []
        self.before: Callable[[int], None] = lambda _: None
        self.after: Callable[[int], None] = lambda _: None
        self.full = False  # EC2 has no capacity for the page's instance
        self.there: set[tuple[str, str]] = set()  # kind and name
        self.objects: dict[str, set[str]] = {}
        self.instances: set[str] = set()
        self.status, self.looks, self.next_status = "", 0, ""
        self.parameters: dict[str, str] = {}
        self.passwords: list[str] = []  # the versions of the parameter
        self.sets: dict[str, dict[str, Any]] = {}

    def copy(self) -> Self:
        """The same account apart, without faults."""
        self.before = self.after = lambda _: None
        return copy.deepcopy(self)

    def call(self, action: str, members: Members, values: Sequence[Any] = ()) -> Any:
        self.calls.append(action)
        self.before(len(self.calls))
        answer = self._act(action, members, values)
        self.after(len(self.calls))
        return answer

    def _act(self, action: str, members: Members, values: Sequence[Any]) -> Any:
        if action in FACTS and not hasattr(self, action):
            return copy.deepcopy(FACTS[action])
        return getattr(self, action)(*values, **members)

    def everything(self) -> set[tuple[str, str]]:
        """All that there is, half-made stacks and change sets included."""
        found = self.there | {("instance", one) for one in self.instances}
        found |= {("object", f"{bucket}/{key}") for bucket, keys in self.objects.items() for key in keys}
        return found | ({("stack", self.status)} if self.status else set())

    # CloudFormation

    def describe_stacks(self, StackName: str) -> Any:
        if self.looks:
            self.looks -= 1
        elif self.next_status:
            self._finish()
        if not self.status:
            raise refusal("DescribeStacks", "ValidationError", "Stack with id fish does not exist")
        held = [{"ParameterKey": key, "ParameterValue": value} for key, value in self.parameters.items()]
        outputs = [{"OutputKey": "WebInstanceId", "OutputValue": "i-web"}] * ("i-web" in self.instances)
        return {"Stacks": [{"StackStatus": self.status, "Parameters": held, "Outputs": outputs}]}

    def create_change_set(self, **asked: Any) -> Any:
        if asked["ChangeSetType"] == "CREATE":
            assert self.status in ("", "REVIEW_IN_PROGRESS")
            self.status = "REVIEW_IN_PROGRESS"
        else:
            assert self.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "CREATE_FAILED"), self.status
        self.sets[asked["ChangeSetName"]] = asked
        return {}

    def describe_change_set(self, StackName: str, ChangeSetName: str) -> Any:
        wanted = self._parameters_of(self.sets[ChangeSetName])
        if self.status.endswith("_COMPLETE") and wanted == self.parameters:
            return {"Status": "FAILED", "StatusReason": "The submitted information didn't contain changes."}
        return {"Status": "CREATE_COMPLETE"}

    def delete_change_set(self, StackName: str, ChangeSetName: str) -> Any:
        del self.sets[ChangeSetName]

    def execute_change_set(self, StackName: str, ChangeSetName: str, **_: Any) -> Any:
        asked = self.sets[ChangeSetName]
        self.sets = {}  # the others are deleted with it
        kind = "CREATE" if self.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        self.parameters = self._parameters_of(asked)
        self.status, self.looks = f"{kind}_IN_PROGRESS", LOOKS
        self.next_status = "CREATE_FAILED" if self.full else f"{kind}_COMPLETE"
        taken = self._made() & self.there if kind == "CREATE" else set()
        assert not taken or asked.get("ImportExistingResources"), taken
        return {}

    def delete_stack(self, StackName: str) -> Any:
        if self.status:
            self.sets = {}
            self.status, self.looks, self.next_status = "DELETE_IN_PROGRESS", LOOKS, "DELETED"

    def _finish(self) -> None:
        if self.next_status == "DELETED":
            assert not self.objects.get(f"{self.prefix}-code-bucket"), "CloudFormation deletes no bucket with objects"
            kept = {("bucket", f"{self.prefix}-{kind}-bucket") for kind in ("in", "out")}
            self.there -= self._made() - kept
            self.instances.discard("i-web")
            self.status, self.parameters = "", {}
        else:
            self.status = self.next_status
            self.there |= self._made()
            if self.status != "CREATE_FAILED":
                self.instances.add("i-web")
        self.next_status = ""

    def _made(self) -> set[tuple[str, str]]:
        """What the template makes with these parameters, of the kinds that are looked for by name."""
        template = template_file.read()
        found = set()
        for name in template.made(self.parameters) if self.parameters else ():
            resource = template.body["Resources"][name]
            kind = resource["Type"]
            if kind in NAMES:
                named = resource["Properties"][NAMES[kind]]
                text = named["Fn::Sub"] if isinstance(named, dict) else named
                found.add((kind.rpartition("::")[2].lower(), text.replace("${Prefix}", self.prefix)))
        worker = f"{self.prefix}-worker"
        return found | {("role", worker), ("profile", worker), ("template", worker)} if found else found

    @staticmethod
    def _parameters_of(asked: Members) -> dict[str, str]:
        return {one["ParameterKey"]: one["ParameterValue"] for one in asked["Parameters"]}

    # what lies in the account

    def _check(self, kind: str, name: str, code: str) -> Any:
        if (kind, name) not in self.there:
            raise refusal(kind, code, f"there is no {kind} {name}")
        return {}

    def head_bucket(self, Bucket: str) -> Any:
        return self._check("bucket", Bucket, "404")

    def head_object(self, Bucket: str, Key: str) -> Any:
        if Key not in self.objects.get(Bucket, ()):
            raise refusal("HeadObject", "404", "Not Found")

    def put_object(self, Bucket: str, Key: str, **_: Any) -> Any:
        self._check("bucket", Bucket, "NoSuchBucket")
        self.objects.setdefault(Bucket, set()).add(Key)

    def list_object_versions(self, Bucket: str) -> Any:
        return {"Versions": [{"Key": key, "VersionId": "1"} for key in sorted(self.objects.get(Bucket, ()))]}

    def delete_objects(self, Bucket: str, Delete: Members) -> Any:
        self.objects[Bucket] -= {one["Key"] for one in Delete["Objects"]}

    def delete_bucket(self, Bucket: str) -> Any:
        self._check("bucket", Bucket, "NoSuchBucket")
        assert not self.objects.get(Bucket)
        self.there.discard(("bucket", Bucket))

    def list_queues(self, QueueNamePrefix: str) -> Any:
        names = (name for kind, name in sorted(self.there) if kind == "queue" and name.startswith(QueueNamePrefix))
        return {"QueueUrls": [f"https://sqs/1/{name}" for name in names]}

    def delete_queue(self, QueueUrl: str) -> Any:
        name = QueueUrl.rpartition("/")[2]
        self._check("queue", name, "QueueDoesNotExist")
        self.there.discard(("queue", name))

    def describe_table(self, TableName: str) -> Any:
        return self._check("table", TableName, "ResourceNotFoundException")

    def delete_table(self, TableName: str) -> Any:
        self._check("table", TableName, "ResourceNotFoundException")
        self.there.discard(("table", TableName))

    def describe_launch_templates(self, Filters: Any) -> Any:
        [name] = Filters[0]["Values"]
        found = [{"LaunchTemplateName": name, "LaunchTemplateId": "lt-1"}] * (("template", name) in self.there)
        return {"LaunchTemplates": found}

    def delete_launch_template(self, LaunchTemplateId: str) -> Any:
        self._check("template", f"{self.prefix}-worker", "InvalidLaunchTemplateId.NotFound")
        self.there.discard(("template", f"{self.prefix}-worker"))

    def describe_instances(self, Filters: Any) -> Any:
        ours = {"tag:shoal": {"i-web"}, "tag:shoal:pool": {"i-worker"}}[Filters[0]["Name"]]
        return {"Reservations": [{"Instances": [{"InstanceId": one} for one in sorted(ours & self.instances)]}]}

    def terminate_instances(self, InstanceIds: list[str]) -> Any:
        self.instances -= set(InstanceIds)

    def describe_load_balancers(self, Names: list[str]) -> Any:
        return {**self._check("balancer", Names[0], "LoadBalancerNotFound"), "LoadBalancers": [{}]}

    def describe_target_groups(self, Names: list[str]) -> Any:
        return {**self._check("target group", Names[0], "TargetGroupNotFound"), "TargetGroups": [{}]}

    def get_role(self, RoleName: str) -> Any:
        return self._check("role", RoleName, "NoSuchEntity")

    def get_instance_profile(self, InstanceProfileName: str) -> Any:
        return self._check("profile", InstanceProfileName, "NoSuchEntity")

    def get_function(self, FunctionName: str) -> Any:
        return self._check("function", FunctionName, "ResourceNotFoundException")

    def get_parameter(self, Name: str, **_: Any) -> Any:
        if Name.startswith("/aws/"):
            return {"Parameter": {"Value": "ami-debian"}}
        self._check("password", Name, "ParameterNotFound")
        return {"Parameter": {"Value": self.passwords[-1], "Version": len(self.passwords)}}

    def put_parameter(self, Name: str, Value: str, **_: Any) -> Any:
        self.there.add(("password", Name))
        self.passwords.append(Value)
        return {"Version": len(self.passwords)}

    def delete_parameter(self, Name: str) -> Any:
        self._check("password", Name, "ParameterNotFound")
        self.there.discard(("password", Name))


class ClientInMemory:
    """What boto3's clients are to the code, on such an account."""

    def __init__(self, account: AccountInMemory) -> None:
        self._account = account

    class meta:  # noqa: N801 - boto3's own name
        region_name = "us-east-1"

    def __getattr__(self, action: str) -> Callable[..., Any]:
        return lambda *values, **members: self._account.call(action, members, values)

    def get_paginator(self, action: str) -> Pages:
        return Pages(self._account, action)


class Pages:
    """A paginator with one page."""

    def __init__(self, account: AccountInMemory, action: str) -> None:
        self._account = account
        self._action = action

    def paginate(self, **members: Any) -> Iterator[Any]:
        yield self._account.call(self._action, members)


def timeout() -> botocore.exceptions.ReadTimeoutError:
    return botocore.exceptions.ReadTimeoutError(endpoint_url="https://aws")
