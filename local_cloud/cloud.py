"""Puts the rooms together: moto with its hooks, the instance host, the metadata service."""

import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from local_cloud.arguments import Arguments
from local_cloud.control import Control
from local_cloud.ec2 import roles, server
from local_cloud.ec2.books import BooksKeeper
from local_cloud.ec2.groups import GroupKeeper
from local_cloud.ec2.hooks import Books
from local_cloud.ec2.permission_facts import PermissionFacts
from local_cloud.guard.addresses import check_address
from local_cloud.guard.callers import Callers
from local_cloud.guard.ec2_guard import Ec2Guard
from local_cloud.guard.ec2_needs import Ec2Needs
from local_cloud.guard.gate import Gate
from local_cloud.guard.keys import CloudKeys
from local_cloud.guard.permissions import Permissions
from local_cloud.guard.policies import PolicyFile
from local_cloud.guard.sessions import SessionKeys
from local_cloud.guard.used_permissions import UsedPermissions
from local_cloud.hostile import HONEST
from local_cloud.hostile.journal import JOURNAL_NAME
from local_cloud.hostile.trouble import Trouble
from local_cloud.machines.booted import machine
from local_cloud.machines.booted.machine import MachineRunner
from local_cloud.machines.images import ImageStore
from local_cloud.machines.instance import InstanceRunner, Surroundings
from local_cloud.machines.instance_host import InstanceHost
from local_cloud.machines.limits import Limiter, find_groups
from local_cloud.machines.metadata import MetadataServer
from local_cloud.state_folder import StateFolder


@dataclass(frozen=True)
class EmbeddedCloud:
    limiter: Limiter
    host: InstanceHost
    groups: GroupKeeper
    keeper: BooksKeeper

    def close(self) -> None:
        """End all instances and write their last states down."""
        self.groups.stop()
        self.host.close()
        self.keeper.save()
        self.limiter.close()


def open_cloud(
    settings: Arguments,
    folder: StateFolder,
    moto_listener: socket.socket,
    metadata_listener: socket.socket,
    endpoints: Mapping[str, str],
    keys: CloudKeys,
) -> EmbeddedCloud:
    """Answer on both sockets. `endpoints` are the variables that instances get. Raises ImageError, NoMachines."""
    if settings.machines:
        machine.check()
    changed = threading.Event()
    books = Books(settings.region, changed.set)
    metadata = MetadataServer(metadata_listener, books.find)
    images = ImageStore(folder.images)
    for name, image_folder in settings.images.items():
        images.add(books.register_image(name), image_folder)
    limiter = Limiter(find_groups())
    surroundings = Surroundings(
        state_folder=folder.path,
        endpoints=endpoints,
        open_metadata=metadata.open,
        boot_seconds=settings.boot_seconds,
        grace_seconds=settings.grace_seconds,
        limiter=limiter,
    )
    trouble = Trouble(settings.hostility, folder.logs / JOURNAL_NAME) if settings.hostility else None
    host = InstanceHost(
        folder.instances,
        images,
        surroundings,
        forget=books.forget,
        cron_seconds=settings.cron_seconds,
        forget_seconds=settings.forget_seconds,
        make=trouble.instance if trouble else MachineRunner if settings.machines else InstanceRunner,
    )
    if trouble:
        trouble.interrupt = host.interrupt
        books.capacity = trouble.capacity
    policies = PolicyFile(folder.policies)
    keeper = BooksKeeper(
        books, host, changed, policies, instances=folder.instances, images=folder.images, calls=folder.calls
    )
    books.connect(host, keeper.save)
    journal = keeper.journal(server.application())
    for line in keeper.restore(journal):
        print(f"local cloud: {line}", file=sys.stderr)
    keeper.start()
    groups = GroupKeeper(settings.region)
    groups.start()
    sessions = SessionKeys(keys.session_secret, time.time)
    roles.connect(sessions)
    permissions = Permissions(
        policies,
        Ec2Needs(settings.region, PermissionFacts(settings.region, books.backend, books.find)),
        settings.region,
        UsedPermissions(folder.cloud / "used-by-roles-moto.jsonl"),
    )
    callers = Callers(keys, sessions, frozenset({HONEST}))
    gate = Gate(callers, permissions, check_address=lambda service: check_address(service, of_ministack=False))
    control = Control(journal, host, books.find)
    threading.Thread(target=metadata.serve_forever, name="metadata", daemon=True).start()
    server.serve(moto_listener, Ec2Guard(trouble.around(control) if trouble else control, gate))
    host.open()
    return EmbeddedCloud(limiter, host, groups, keeper)
