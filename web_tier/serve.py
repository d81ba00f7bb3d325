"""The web tier alone, for `shoal serve`: it labels photos itself, and keeps results in a folder. No cloud."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import cast

from shoal import logs
from shoal import settings as shoal_settings
from shoal.buckets.folder_store import FolderStore
from shoal.clock import SystemClock
from shoal.lifecycle import (
    SERVE_LOCK,
    StopSignal,
    check_start,
    end_when_a_thread_dies,
    end_within,
    keep_private,
    only_one,
)
from shoal.memory import memory_cloud
from shoal.settings import Settings
from web_tier.app import create_app
from web_tier.server import WebServer
from web_tier.venues import local


def serve(settings: Settings, folder: Path, ready: Callable[[int], None]) -> None:
    """Serve until a signal stops it.

    folder: gets the results, and the photos of pages and forms. ready: called with the port once it listens.
    Raises SettingsError, and NotFound when the model is not prepared.
    """
    end_when_a_thread_dies()
    shoal_settings.check_exposure(settings)
    otherwise = f"`shoal serve` already runs in {settings.state_dir}: stop it, or set SHOAL_STATE_DIR and SHOAL_PORT"
    check_start(settings.state_dir / SERVE_LOCK, settings.host, settings.port)
    local.check(settings)  # before a folder is made
    with only_one(settings.state_dir / SERVE_LOCK, otherwise), StopSignal() as stop:
        logs.configure(settings.log_level)
        logging.getLogger("waitress").setLevel(logging.ERROR)
        # Nothing here converts models. Without its converter OpenVINO is imported in two thirds of the time.
        sys.modules.setdefault("openvino.tools.ovc", cast(ModuleType, None))
        for private in (settings.state_dir, folder):  # the results may be elsewhere
            keep_private(private)
        clock = SystemClock()
        cloud = replace(
            memory_cloud(clock), inputs=FolderStore(folder / "photos"), outputs=FolderStore(folder / "results")
        )
        ours = replace(settings, venue="local", venues="", direct_uploads="off", emulated=True)
        server = WebServer(
            create_app(ours, cloud, clock, has_pool=False), settings.host, settings.port, settings.web_threads
        )
        server.start()
        ready(server.port)
        stop.wait()
        end_within()
        server.stop()
