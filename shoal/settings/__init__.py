"""Shoal's settings: declared once, read from the environment, checked. Everything else is handed a `Settings`."""

from shoal.settings.changing import OF_THE_WEB_TIER, change, change_for
from shoal.settings.checks import check_exposure
from shoal.settings.declaration import Setting, as_text, variable
from shoal.settings.declared import GROUPS, SETTINGS, Settings
from shoal.settings.reading import (
    load,
    load_with_env_file,
    load_with_own_file,
    misspelt,
    own_file,
    read_env_file,
    sources,
    take_up,
    user_state_dir,
)

__all__ = [
    "GROUPS",
    "OF_THE_WEB_TIER",
    "SETTINGS",
    "Setting",
    "Settings",
    "as_text",
    "change",
    "change_for",
    "check_exposure",
    "load",
    "load_with_env_file",
    "load_with_own_file",
    "misspelt",
    "own_file",
    "read_env_file",
    "sources",
    "take_up",
    "user_state_dir",
    "variable",
]
