"""The calls that test_local_cloud_parity.py makes on plain moto and on the embedded cloud, by their names."""

import base64
import contextlib
import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from tests.waiting import until

SCRIPT = "#!/bin/sh\necho out of the instance\nsleep 100\n"
TAGS = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "one"}]}]

Clients = Callable[[str], Any]
Call = Callable[["ParityWorld"], Any]
calls: dict[str, Call] = {}


def call(name: str) -> Callable[[Call], Call]:
    """Enter a call, or a few that belong together, into the suite."""

    def enter(function: Call) -> Call:
        calls[name] = function
        return function

    return enter


class ParityWorld:
    """Plain moto or the embedded cloud, for one suite."""

    def __init__(self, clients: Clients, image: str) -> None:
        self.client = clients
        self.image = image
        self.ec2 = clients("ec2")

    def launch(self, **parameters: Any) -> list[dict[str, Any]]:
        given = {"ImageId": self.image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **parameters}
        instances: list[dict[str, Any]] = self.ec2.run_instances(**given)["Instances"]
        return instances

    def one(self, **parameters: Any) -> str:
        return str(self.launch(**parameters)[0]["InstanceId"])

    def describe(self, identifier: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_instances(InstanceIds=[identifier])["Reservations"][0]["Instances"][0]
        return found

    def state(self, identifier: str) -> str:
        return str(self.describe(identifier)["State"]["Name"])

    def come_to(self, identifier: str, state: str) -> str:
        until(lambda: self.state(identifier) == state)
        return identifier


def outcome(act: Callable[[], Any], done: str = "done") -> str:
    """`done`, or the code of the refusal."""
    try:
        act()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return done


def launched(world: ParityWorld, **parameters: Any) -> str:
    return outcome(lambda: world.launch(**parameters), "launched")


@call("images of others")
def _(world: ParityWorld) -> Any:
    return bool(world.ec2.describe_images(Owners=["amazon"])["Images"])


@call("launch up to three")
def _(world: ParityWorld) -> Any:
    return len(world.launch(MaxCount=3))


@call("fewer than one")
def _(world: ParityWorld) -> Any:
    return launched(world, MinCount=1, MaxCount=1, DryRun=True)


@call("state right after a launch")
def _(world: ParityWorld) -> Any:
    return world.state(world.one())


@call("state in the end")
def _(world: ParityWorld) -> Any:
    return world.state(world.come_to(world.one(), "running"))


@call("the same client token")
def _(world: ParityWorld) -> Any:
    return world.one(ClientToken="a") == world.one(ClientToken="a")


@call("a client token with other parameters")
def _(world: ParityWorld) -> Any:
    world.one(ClientToken="b")
    return launched(world, ClientToken="b", InstanceType="t3.large")


@call("an unknown image")
def _(world: ParityWorld) -> Any:
    return launched(world, ImageId="ami-0123456789abcdef0")


@call("an image id that is none")
def _(world: ParityWorld) -> Any:
    return launched(world, ImageId="debian")


@call("an unknown type")
def _(world: ParityWorld) -> Any:
    return launched(world, InstanceType="t9.enormous")


@call("an unknown market")
def _(world: ParityWorld) -> Any:
    return launched(world, InstanceMarketOptions={"MarketType": "flea"})


@call("an unknown profile")
def _(world: ParityWorld) -> Any:
    return launched(world, IamInstanceProfile={"Name": "nobody"})


@call("an unknown subnet")
def _(world: ParityWorld) -> Any:
    return launched(world, SubnetId="subnet-0123456789abcdef0")


@call("user data of 17 KB")
def _(world: ParityWorld) -> Any:
    return launched(world, UserData="#" * 17 * 1024)


@call("user data as described")
def _(world: ParityWorld) -> Any:
    described = world.ec2.describe_instance_attribute(InstanceId=world.one(UserData=SCRIPT), Attribute="userData")
    return base64.b64decode(described["UserData"]["Value"]).decode()


@call("what the console shows")
def _(world: ParityWorld) -> Any:
    identifier = world.one(UserData=SCRIPT)

    def shown() -> bool:
        return "out of the instance\n" in world.ec2.get_console_output(InstanceId=identifier).get("Output", "")

    with contextlib.suppress(AssertionError):
        until(shown, 3)
    return shown()


@call("tags at launch")
def _(world: ParityWorld) -> Any:
    return world.describe(world.one(TagSpecifications=TAGS))["Tags"]


@call("found by tag")
def _(world: ParityWorld) -> Any:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "wanted", "Value": "yes"}]}]
    identifier = world.one(TagSpecifications=tags)
    found = world.ec2.describe_instances(Filters=[{"Name": "tag:wanted", "Values": ["yes"]}])["Reservations"]
    return [one["InstanceId"] == identifier for reservation in found for one in reservation["Instances"]]


@call("zone and type")
def _(world: ParityWorld) -> Any:
    described = world.describe(world.one(Placement={"AvailabilityZone": "us-east-1c"}, InstanceType="t3.large"))
    return described["Placement"]["AvailabilityZone"], described["InstanceType"]


@call("a zone that is none")
def _(world: ParityWorld) -> Any:
    return launched(world, Placement={"AvailabilityZone": "us-east-1z"})


@call("protected at launch")
def _(world: ParityWorld) -> Any:
    identifier = world.one(DisableApiTermination=True)
    return outcome(lambda: world.ec2.terminate_instances(InstanceIds=[identifier]))


@call("protected later")
def _(world: ParityWorld) -> Any:
    identifier = world.one()
    world.ec2.modify_instance_attribute(InstanceId=identifier, DisableApiTermination={"Value": True})
    return outcome(lambda: world.ec2.terminate_instances(InstanceIds=[identifier]))


def make_profile(world: ParityWorld, name: str) -> None:
    iam = world.client("iam")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)


@call("a profile for two")
def _(world: ParityWorld) -> Any:
    make_profile(world, "two")
    made = world.launch(MinCount=2, MaxCount=2, IamInstanceProfile={"Name": "two"})
    return sum("IamInstanceProfile" in world.describe(one["InstanceId"]) for one in made)


@call("a profile from a template")
def _(world: ParityWorld) -> Any:
    make_profile(world, "template")
    data = {"ImageId": world.image, "IamInstanceProfile": {"Name": "template"}}
    world.ec2.create_launch_template(LaunchTemplateName="profile", LaunchTemplateData=data)
    identifier = world.one(LaunchTemplate={"LaunchTemplateName": "profile"})
    return int("IamInstanceProfile" in world.describe(identifier))


@call("spot")
def _(world: ParityWorld) -> Any:
    return world.describe(world.one(InstanceMarketOptions={"MarketType": "spot"}))["InstanceLifecycle"]


@call("spot from a template")
def _(world: ParityWorld) -> Any:
    data = {"ImageId": world.image, "InstanceMarketOptions": {"MarketType": "spot"}}
    world.ec2.create_launch_template(LaunchTemplateName="spot", LaunchTemplateData=data)
    return world.describe(world.one(LaunchTemplate={"LaunchTemplateName": "spot"})).get("InstanceLifecycle")


@call("a spot request's id")
def _(world: ParityWorld) -> Any:
    described = world.describe(world.one(InstanceMarketOptions={"MarketType": "spot"}))
    return str(described.get("SpotInstanceRequestId", "")).startswith("sir-")


@call("template versions")
def _(world: ParityWorld) -> Any:
    for kind in ("t3.nano", "t3.small"):
        data = {"ImageId": world.image, "InstanceType": kind}
        make = world.ec2.create_launch_template if kind == "t3.nano" else world.ec2.create_launch_template_version
        make(LaunchTemplateName="versions", LaunchTemplateData=data)
    launches = []
    for version in ("$Default", "$Latest", "1", "2"):
        template = {"LaunchTemplateName": "versions", "Version": version}
        given = {"LaunchTemplate": template, "ImageId": world.image, "MinCount": 1, "MaxCount": 1}
        launches.append(world.ec2.run_instances(**given)["Instances"][0]["InstanceType"])
    return launches


@call("an unknown template")
def _(world: ParityWorld) -> Any:
    return launched(world, LaunchTemplate={"LaunchTemplateName": "nobody"})


@call("shutdown behaviour changed later")
def _(world: ParityWorld) -> Any:
    identifier = world.one()
    behaviour = {"Value": "terminate"}
    world.ec2.modify_instance_attribute(InstanceId=identifier, InstanceInitiatedShutdownBehavior=behaviour)
    name = "instanceInitiatedShutdownBehavior"
    described = world.ec2.describe_instance_attribute(InstanceId=identifier, Attribute=name)
    return described["InstanceInitiatedShutdownBehavior"]["Value"]


@call("type changed while running")
def _(world: ParityWorld) -> Any:
    identifier = world.come_to(world.one(), "running")
    change = {"InstanceId": identifier, "InstanceType": {"Value": "t3.large"}}
    return outcome(lambda: world.ec2.modify_instance_attribute(**change))


@call("state right after a stop")
def _(world: ParityWorld) -> Any:
    identifier = world.come_to(world.one(UserData="#!/bin/sh\ntrap 'sleep 1' TERM\nsleep 100 & wait\n"), "running")
    world.ec2.stop_instances(InstanceIds=[identifier])
    return world.state(identifier)


@call("stopped, started, terminated")
def _(world: ParityWorld) -> Any:
    identifier = world.come_to(world.one(), "running")
    world.ec2.stop_instances(InstanceIds=[identifier])
    reason = world.describe(world.come_to(identifier, "stopped"))["StateReason"]["Code"]
    world.ec2.start_instances(InstanceIds=[identifier])
    world.come_to(identifier, "running")
    answer = world.ec2.terminate_instances(InstanceIds=[identifier])["TerminatingInstances"][0]
    world.come_to(identifier, "terminated")
    return reason, answer["CurrentState"], answer["PreviousState"]


@call("start of a terminated one")
def _(world: ParityWorld) -> Any:
    identifier = world.one()
    world.ec2.terminate_instances(InstanceIds=[identifier])
    world.come_to(identifier, "terminated")
    return outcome(lambda: world.ec2.start_instances(InstanceIds=[identifier]))


@call("reboot of a terminated one")
def _(world: ParityWorld) -> Any:
    identifier = world.one()
    world.ec2.terminate_instances(InstanceIds=[identifier])
    world.come_to(identifier, "terminated")
    return outcome(lambda: world.ec2.reboot_instances(InstanceIds=[identifier]))


@call("an unknown instance")
def _(world: ParityWorld) -> Any:
    return outcome(lambda: world.ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"]))


def make_image_of_one(world: ParityWorld, name: str) -> str:
    identifier = world.come_to(world.one(), "running")
    image = str(world.ec2.create_image(InstanceId=identifier, Name=name)["ImageId"])
    until(lambda: world.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")
    return image


@call("launch of an image made here")
def _(world: ParityWorld) -> Any:
    return launched(world, ImageId=make_image_of_one(world, "made"))


@call("two images of one name")
def _(world: ParityWorld) -> Any:
    identifier = world.come_to(world.one(), "running")
    make_image_of_one(world, "twice")
    return outcome(lambda: world.ec2.create_image(InstanceId=identifier, Name="twice"))


@call("an image of snapshots")
def _(world: ParityWorld) -> Any:
    return outcome(lambda: world.ec2.register_image(Name="snapshots", RootDeviceName="/dev/sda1"))


@call("launch of an image removed")
def _(world: ParityWorld) -> Any:
    image = make_image_of_one(world, "removed")
    world.ec2.deregister_image(ImageId=image)
    return launched(world, ImageId=image)


def make_group(world: ParityWorld, name: str, **parameters: Any) -> Any:
    scaling = world.client("autoscaling")
    for number in (1, 2):
        data = {"ImageId": world.image, "InstanceType": "t3.micro"}
        make = world.ec2.create_launch_template if number == 1 else world.ec2.create_launch_template_version
        make(LaunchTemplateName=name, LaunchTemplateData=data)
    scaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"},
        AvailabilityZones=["us-east-1a"],
        **{"MinSize": 0, "MaxSize": 2, "DesiredCapacity": 1, **parameters},
    )
    return scaling


def members(scaling: Any, name: str) -> list[str]:
    groups = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    return [instance["InstanceId"] for instance in groups[0]["Instances"]]


@call("a group grows and shrinks")
def _(world: ParityWorld) -> Any:
    scaling = make_group(world, "grows")
    counts = []
    for number in (2, 0):
        scaling.set_desired_capacity(AutoScalingGroupName="grows", DesiredCapacity=number)
        counts.append(len(members(scaling, "grows")))
    return counts


@call("a group beyond its bounds")
def _(world: ParityWorld) -> Any:
    scaling = make_group(world, "bounds")
    return outcome(lambda: scaling.set_desired_capacity(AutoScalingGroupName="bounds", DesiredCapacity=3))


@call("a group's version of its template")
def _(world: ParityWorld) -> Any:
    scaling = make_group(world, "version")
    tags = world.describe(members(scaling, "version")[0])["Tags"]
    return next(tag["Value"] for tag in tags if tag["Key"] == "aws:ec2launchtemplate:version")


@call("a group's protected member")
def _(world: ParityWorld) -> Any:
    scaling = make_group(world, "protected", NewInstancesProtectedFromScaleIn=True)
    scaling.set_desired_capacity(AutoScalingGroupName="protected", DesiredCapacity=0)
    return len(members(scaling, "protected"))


@call("a group deleted with its members")
def _(world: ParityWorld) -> Any:
    scaling = make_group(world, "deleted")
    return outcome(lambda: scaling.delete_auto_scaling_group(AutoScalingGroupName="deleted"))


@call("a role and its policy")
def _(world: ParityWorld) -> Any:
    iam = world.client("iam")
    iam.create_role(RoleName="policy", AssumeRolePolicyDocument="{}", Description="described")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="policy", PolicyName="own", PolicyDocument=policy)
    found = iam.get_role_policy(RoleName="policy", PolicyName="own")["PolicyDocument"]
    return iam.get_role(RoleName="policy")["Role"]["Description"], found


@call("a parameter")
def _(world: ParityWorld) -> Any:
    ssm = world.client("ssm")
    ssm.put_parameter(Name="/a", Value="1", Type="String")
    again = outcome(lambda: ssm.put_parameter(Name="/a", Value="2", Type="String"))
    return again, ssm.get_parameter(Name="/a")["Parameter"]["Value"]


@call("who am I")
def _(world: ParityWorld) -> Any:
    return world.client("sts").get_caller_identity()["Account"]


@call("a queue's message")
def _(world: ParityWorld) -> Any:
    sqs = world.client("sqs")
    queue = sqs.create_queue(QueueName="plain", Attributes={"MaximumMessageSize": "1024"})["QueueUrl"]
    too_long = outcome(lambda: sqs.send_message(QueueUrl=queue, MessageBody="x" * 1025))
    sqs.send_message(QueueUrl=queue, MessageBody="hello")
    message = sqs.receive_message(QueueUrl=queue)["Messages"][0]
    hidden = sqs.receive_message(QueueUrl=queue).get("Messages", [])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return too_long, message["Body"], hidden


@call("a queue's old receipt handle")
def _(world: ParityWorld) -> Any:
    sqs = world.client("sqs")
    queue = sqs.create_queue(QueueName="old")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="hello")
    first = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"][0]["ReceiptHandle"]
    sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=2)
    return outcome(lambda: sqs.delete_message(QueueUrl=queue, ReceiptHandle=first))


@call("an object")
def _(world: ParityWorld) -> Any:
    s3 = world.client("s3")
    s3.create_bucket(Bucket="plain")
    s3.put_object(Bucket="plain", Key="a/b c", Body=b"bytes", ContentType="image/jpeg")
    found = s3.get_object(Bucket="plain", Key="a/b c")
    absent = outcome(lambda: s3.get_object(Bucket="plain", Key="none"))
    taken = outcome(lambda: s3.put_object(Bucket="plain", Key="a/b c", Body=b"", IfNoneMatch="*"))
    return found["Body"].read(), found["ContentType"], absent, taken


@call("an object with a wrong checksum")
def _(world: ParityWorld) -> Any:
    s3 = world.client("s3")
    s3.create_bucket(Bucket="sums")
    wrong = base64.b64encode(bytes(32)).decode()
    return outcome(lambda: s3.put_object(Bucket="sums", Key="a", Body=b"bytes", ChecksumSHA256=wrong))


@call("a conditional write")
def _(world: ParityWorld) -> Any:
    tables = world.client("dynamodb")
    tables.create_table(
        TableName="plain",
        KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    write = {"TableName": "plain", "Item": {"key": {"S": "a"}}, "ConditionExpression": "attribute_not_exists(#k)"}
    write["ExpressionAttributeNames"] = {"#k": "key"}
    return [outcome(lambda: tables.put_item(**write)) for _ in range(2)]
