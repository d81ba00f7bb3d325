"""Policies of roles: each call of a role is allowed by its policies, or refused. Tried with the worker's policy."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from tests.local_cloud_fixtures import ROOT, CloudProcess, make_image, running_cloud
from tests.policy_fixtures import Role

PREFIX = "fish"
WORKER = (ROOT / "ami" / "worker-policy.json").read_text().replace("@PREFIX@", PREFIX)
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        for bucket in (f"{PREFIX}-in-bucket", f"{PREFIX}-out-bucket", "others"):
            cloud.client("s3").create_bucket(Bucket=bucket)
            cloud.client("s3").put_object(Bucket=bucket, Key="a/photo", Body=b"x")
        for queue in (f"{PREFIX}-req-queue", f"{PREFIX}-resp-queue", "others"):
            cloud.client("sqs").create_queue(QueueName=queue)
        cloud.client("dynamodb").create_table(
            TableName=f"{PREFIX}-pool",
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        cloud.client("iam").create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
        cloud.client("iam").put_role_policy(RoleName="worker", PolicyName="p", PolicyDocument=WORKER)
        yield cloud


@pytest.fixture(scope="module")
def worker(cloud: CloudProcess) -> Role:
    return Role(cloud, "worker")


def queue_url(cloud: CloudProcess, name: str) -> str:
    return str(cloud.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def entry(name: str) -> dict[str, Any]:
    return {"TableName": f"{PREFIX}-pool", "Item": {"name": {"S": name}}}


Calls = dict[str, Callable[[CloudProcess, Role], object]]

MAY: Calls = {
    "read a photo": lambda _, role: role.client("s3").get_object(Bucket=f"{PREFIX}-in-bucket", Key="a/photo"),
    "write a result": lambda _, role: role.client("s3").put_object(
        Bucket=f"{PREFIX}-out-bucket", Key="a/b c+ü\n", Body=b"{}"
    ),
    "tell missing from forbidden": lambda _, role: role.client("s3").list_objects_v2(Bucket=f"{PREFIX}-in-bucket"),
    "see a suspect": lambda _, role: role.client("s3").list_objects_v2(
        Bucket=f"{PREFIX}-out-bucket", Prefix="suspects/1"
    ),
    "receive": lambda cloud, role: role.client("sqs").receive_message(QueueUrl=queue_url(cloud, f"{PREFIX}-req-queue")),
    "find a queue": lambda _, role: role.client("sqs").get_queue_url(QueueName=f"{PREFIX}-req-queue"),
    "respond": lambda cloud, role: role.client("sqs").send_message(
        QueueUrl=queue_url(cloud, f"{PREFIX}-resp-queue"), MessageBody="done"
    ),
    "respond to several": lambda cloud, role: role.client("sqs").send_message_batch(
        QueueUrl=queue_url(cloud, f"{PREFIX}-resp-queue"), Entries=[{"Id": "1", "MessageBody": "done"}]
    ),
    "keep several": lambda cloud, role: role.client("sqs").change_message_visibility_batch(
        QueueUrl=queue_url(cloud, f"{PREFIX}-req-queue"), Entries=[{"Id": "1", "ReceiptHandle": "none"}]
    ),
    "delete several messages": lambda cloud, role: role.client("sqs").delete_message_batch(
        QueueUrl=queue_url(cloud, f"{PREFIX}-req-queue"), Entries=[{"Id": "1", "ReceiptHandle": "none"}]
    ),
    "register": lambda _, role: role.client("dynamodb").put_item(**entry("i-1")),
    "say who it is": lambda _, role: role.client("sts").get_caller_identity(),
}

MAY_NOT: Calls = {
    "write a photo": lambda _, role: role.client("s3").put_object(Bucket=f"{PREFIX}-in-bucket", Key="a", Body=b""),
    "make itself an operator": lambda _, role: role.client("s3").put_object(
        Bucket=f"{PREFIX}-out-bucket", Key="accounts/users/me", Body=b"{}"
    ),
    "read a password's hash": lambda _, role: role.client("s3").get_object(
        Bucket=f"{PREFIX}-out-bucket", Key="accounts/users/alice"
    ),
    "begin a session": lambda _, role: role.client("s3").put_object(
        Bucket=f"{PREFIX}-out-bucket", Key="sessions/mine", Body=b"{}"
    ),
    "list results": lambda _, role: role.client("s3").list_objects_v2(Bucket=f"{PREFIX}-out-bucket"),
    "read of others": lambda _, role: role.client("s3").get_object(Bucket="others", Key="a/photo"),
    "copy from others": lambda _, role: role.client("s3").copy_object(
        Bucket=f"{PREFIX}-out-bucket", Key="stolen", CopySource="others/a/photo"
    ),
    "delete a photo": lambda _, role: role.client("s3").delete_object(Bucket=f"{PREFIX}-in-bucket", Key="a/photo"),
    "delete several": lambda _, role: role.client("s3").delete_objects(
        Bucket=f"{PREFIX}-out-bucket", Delete={"Objects": [{"Key": "a/photo"}]}
    ),
    "list buckets": lambda _, role: role.client("s3").list_buckets(),
    "open a bucket to pages": lambda _, role: role.client("s3").put_bucket_cors(
        Bucket=f"{PREFIX}-out-bucket",
        CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]},
    ),
    "ask for photos": lambda cloud, role: role.client("sqs").send_message(
        QueueUrl=queue_url(cloud, f"{PREFIX}-req-queue"), MessageBody="label"
    ),
    "receive of others": lambda cloud, role: role.client("sqs").receive_message(QueueUrl=queue_url(cloud, "others")),
    "delete a queue": lambda cloud, role: role.client("sqs").delete_queue(
        QueueUrl=queue_url(cloud, f"{PREFIX}-req-queue")
    ),
    "take the lease": lambda _, role: role.client("dynamodb").put_item(**entry("lease")),
    "take the lease in a batch": lambda _, role: role.client("dynamodb").batch_write_item(
        RequestItems={f"{PREFIX}-pool": [{"PutRequest": {"Item": {"name": {"S": "lease"}}}}]}
    ),
    "take the lease in a transaction": lambda _, role: role.client("dynamodb").transact_write_items(
        TransactItems=[{"Put": entry("lease")}]
    ),
    "strike a worker off the register": lambda _, role: role.client("dynamodb").delete_item(
        TableName=f"{PREFIX}-pool", Key={"name": {"S": "i-1"}}
    ),
    "read the register": lambda _, role: role.client("dynamodb").scan(TableName=f"{PREFIX}-pool"),
    "see instances": lambda _, role: role.client("ec2").describe_instances(),
    "start an instance": lambda cloud, role: role.client("ec2").run_instances(
        ImageId=cloud.image(), MinCount=1, MaxCount=1, InstanceType="t3.micro"
    ),
    "end an instance": lambda _, role: role.client("ec2").terminate_instances(InstanceIds=["i-00000000000000000"]),
    "give itself a policy": lambda _, role: role.client("iam").put_role_policy(
        RoleName="worker", PolicyName="all", PolicyDocument=WORKER
    ),
    "become another role": lambda _, role: role.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/worker", RoleSessionName="again"
    ),
    "call a function": lambda _, role: role.client("lambda").invoke(FunctionName="f"),
    "publish": lambda _, role: role.client("sns").publish(
        TopicArn="arn:aws:sns:us-east-1:123456789012:t", Message="hello"
    ),
}


@pytest.mark.parametrize("name", MAY)
def test_a_worker_may(cloud: CloudProcess, worker: Role, name: str) -> None:
    MAY[name](cloud, worker)


@pytest.mark.parametrize("name", MAY_NOT)
def test_a_worker_may_not(cloud: CloudProcess, worker: Role, name: str) -> None:
    with pytest.raises(ClientError) as found:
        MAY_NOT[name](cloud, worker)
    assert found.value.response["Error"]["Code"] in DENIED
    assert "role/worker" in found.value.response["Error"]["Message"]


def test_a_form_may_do_what_its_signer_may(cloud: CloudProcess, worker: Role) -> None:
    statuses = []
    for bucket in (f"{PREFIX}-out-bucket", f"{PREFIX}-in-bucket"):
        made = worker.client("s3").generate_presigned_post(bucket, "by/${filename}")
        answer = requests.post(made["url"], data=made["fields"], files={"file": ("f", b"x")}, timeout=10)
        statuses.append(answer.status_code)
    assert statuses == [204, 403]


def test_a_signed_address_may_do_what_its_signer_may(worker: Role) -> None:
    statuses = []
    for bucket in (f"{PREFIX}-in-bucket", "others"):
        url = worker.client("s3").generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a/photo"})
        statuses.append(requests.get(url, timeout=10).status_code)
    assert statuses == [200, 403]


def test_a_policy_holds_from_the_next_call_on(cloud: CloudProcess) -> None:
    iam = cloud.client("iam")
    iam.create_role(RoleName="changing", AssumeRolePolicyDocument="{}")
    buckets = Role(cloud, "changing").client("s3")
    allow = {"Effect": "Allow", "Action": "s3:List*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::others"}

    def set_policy(*statements: object) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_role_policy(RoleName="changing", PolicyName="p", PolicyDocument=document)

    with pytest.raises(ClientError):
        buckets.list_objects_v2(Bucket="others")
    set_policy(allow)
    assert buckets.list_objects_v2(Bucket="others")["KeyCount"] == 1
    set_policy(allow, deny)
    with pytest.raises(ClientError):
        buckets.list_objects_v2(Bucket="others")
    iam.delete_role_policy(RoleName="changing", PolicyName="p")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    managed = iam.create_policy(PolicyName="managed", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="changing", PolicyArn=managed)
    assert buckets.list_objects_v2(Bucket="others")["KeyCount"] == 1
    iam.detach_role_policy(RoleName="changing", PolicyArn=managed)
    with pytest.raises(ClientError):
        buckets.list_objects_v2(Bucket="others")
