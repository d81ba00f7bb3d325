"""What `shoal doctor` looks at in the cloud besides the ports. Each look returns a few words, or raises."""

from __future__ import annotations

from shoal.aws.clients import client, our_errors, use
from shoal.aws.iam import role_in_words
from shoal.aws.instance_choice import blind_to_new_tags
from shoal.aws.s3 import check_bucket
from shoal.aws.sqs import most_deliveries
from shoal.aws.template import find_image
from shoal.errors import Permanent
from shoal.ports import LAST_NET_DELIVERIES
from shoal.settings import Settings


def look_at_bucket(settings: Settings, name: str) -> str:
    """Raises NotFound, and Permanent when the bucket is another account's or in another region."""
    use(settings.cloud)
    check_bucket(client("s3"), name)
    return "answers"


def check_last_net(settings: Settings) -> str:
    """How often a request message is delivered at most. Raises Permanent if not LAST_NET_DELIVERIES times."""
    use(settings.cloud)
    found = most_deliveries(client("sqs"), settings.req_queue)
    if found != LAST_NET_DELIVERIES:
        raise Permanent(f"after {found} deliveries instead of {LAST_NET_DELIVERIES}, so lost machines can fail a photo")
    return f"after {found} deliveries"


def look_at_role(settings: Settings) -> str:
    """The role in the workers' instance profile. Raises NotFound, and Permanent when it may not be looked at."""
    use(settings.cloud)
    return role_in_words(client("iam"), settings.role)


def look_at_types(settings: Settings) -> str:
    """Raises Permanent for types that the region does not have, or whose workers cannot see that they must leave. The
    error says what to set."""
    use(settings.cloud)
    wanted = {"Name": "instance-type", "Values": list(settings.instance_types)}
    with our_errors("instance types"):
        found = {
            one["InstanceType"] for one in client("ec2").describe_instance_types(Filters=[wanted])["InstanceTypes"]
        }
    if unknown := sorted(set(settings.instance_types) - found):
        raise Permanent(f"EC2 knows no instance type {', '.join(unknown)} here: set SHOAL_INSTANCE_TYPE")
    old = blind_to_new_tags(settings.instance_types) if settings.drain_by == "tag" and not settings.emulated else []
    if old:
        raise Permanent(
            f"on {', '.join(old)} a worker cannot see its drain mark: it is ended only when it has had nothing to do "
            f"for {settings.drain_seconds:g} s. Set SHOAL_INSTANCE_TYPE, or SHOAL_DRAIN_BY=queue"
        )
    return ", ".join(settings.instance_types)


def look_at_image(settings: Settings) -> str:
    """The image that workers start from. Raises NotFound."""
    use(settings.cloud)
    found = find_image(client("ec2"), settings.image)
    name, made = found.get("Name", "without a name"), found.get("CreationDate", "an unknown day")[:10]
    return f"{found['ImageId']} ({name}, of {made})"
