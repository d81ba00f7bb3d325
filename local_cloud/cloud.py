"""Puts the parts together: moto with its hooks, the instance host, the metadata service."""

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from local_cloud import moto_server
from local_cloud.arguments import Arguments
from local_cloud.images import ImageStore
from local_cloud.instance import Surroundings
from local_cloud.instance_host import InstanceHost
from local_cloud.metadata import MetadataServer
from local_cloud.moto_hooks import Books
from local_cloud.service_process import SERVICES
from local_cloud.state_folder import StateFolder


@dataclass(frozen=True)
class Cloud:
    url: str
    endpoints: Mapping[str, str]
    host: InstanceHost


def open_cloud(
    settings: Arguments,
    folder: StateFolder,
    moto_listener: socket.socket,
    metadata_listener: socket.socket,
    services_url: str,
) -> Cloud:
    """Start answering on both sockets. Raises HookPointMoved, ImageError."""
    url = "http://{}:{}".format(*moto_listener.getsockname())
    endpoints = {
        "AWS_ENDPOINT_URL": url,
        **{f"AWS_ENDPOINT_URL_{service.upper()}": services_url for service in SERVICES},
        "AWS_DEFAULT_REGION": settings.region,
    }
    books = Books(settings.region)
    metadata = MetadataServer(metadata_listener, books.find)
    images = ImageStore(folder.images)
    for name, image_folder in settings.images.items():
        images.add(books.register_image(name), image_folder)
    surroundings = Surroundings(
        state_folder=folder.path,
        endpoints=endpoints,
        metadata_url=metadata.url,
        boot_seconds=settings.boot_seconds,
        grace_seconds=settings.grace_seconds,
    )
    host = InstanceHost(
        folder.instances,
        images,
        surroundings,
        forget=books.forget,
        cron_seconds=settings.cron_seconds,
        forget_seconds=settings.forget_seconds,
    )
    books.connect(host)
    threading.Thread(target=metadata.serve_forever, name="metadata", daemon=True).start()
    moto_server.serve(moto_listener)
    host.open()
    return Cloud(url, endpoints, host)
