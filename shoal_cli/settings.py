"""`shoal settings`: all settings, their values and where the values come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import click

from shoal.settings import GROUPS, SETTINGS, Setting, Settings, as_text, in_force, load_with_own_file, own_file, sources
from shoal.state_folder.page_address import page_address

HEAD = """# Settings

`shoal settings --markdown` makes this page from the declarations in `shoal/settings/declared.py`. A test compares them.

Set each as an environment variable before the start. `shoal settings` shows what is set now and where it comes from.

The controller alone also reads a file, by default `<SHOAL_STATE_DIR>/settings.env`, with lines like
`SHOAL_MAX_INSTANCES=5`. The file wins over the environment. `shoal set SHOAL_MAX_INSTANCES=5` writes such a line, and
`shoal set SHOAL_MAX_INSTANCES=` removes it. Both make the controller read the file again, as SIGHUP does:

- **reload**: the new value holds from the next tick on.
- **next launch**: instances that are launched from then on have the new value.
- **restart**: a reload with such a change is refused; restart the program.

Settings marked *worker* are given to the workers in the boot file of their instance. The web tier reads the models and
the largest photo too, from its environment at its start: after a change there, restart it with the same value. The next
`shoal up` gives it those of the file.
"""


@click.command(short_help="Show all settings, what is set now, and by what.")
@click.option("--json", "form", flag_value="json", help="Print one JSON object for each setting, in a list.")
@click.option("--markdown", "form", flag_value="markdown", help="Print docs/settings.md: the defaults, no values.")
def command(form: str | None) -> None:
    """Show all settings by group: value, source, default and meaning. Secrets are not shown.

    The values are those of the controller, which reads the file SHOAL_ENV_FILE (or settings.env in the state folder)
    over the environment. The other programs read the environment only. Where the controller that runs goes by another
    value, that is shown, too.
    """
    if form == "markdown":
        click.echo(markdown(), nl=False)
        return
    rows = list(_rows())
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    _print(rows)


def _rows() -> Iterator[dict[str, Any]]:
    settings, found = load_with_own_file(), sources()
    running = in_force.read(settings.state_dir)
    values = {**(running.values if running else {}), **_place(settings)}
    for one in SETTINGS:
        yield {
            **asdict(one),
            "variable": one.variable,
            "default": as_text(one.default),
            "value": shown(one, getattr(settings, one.name)),
            "source": found.get(one.name, "default"),
            "in_force": values.get(one.variable),
            "on_reload": on_reload(one),
        }


def _place(settings: Settings) -> dict[str, str]:
    """Where the page of the Shoal that runs here is, if it is not where the settings say."""
    address = urlsplit(page_address(settings))
    told = {"SHOAL_HOST": address.hostname or "", "SHOAL_PORT": str(address.port)}
    return {} if told == {"SHOAL_HOST": settings.host, "SHOAL_PORT": str(settings.port)} else told


def _print(rows: list[dict[str, Any]]) -> None:
    for group, title in GROUPS.items():
        click.echo(click.style(f"\n{title}\n", bold=True))
        for row in rows:
            if row["group"] == group:
                given = row["source"] != "default"
                default = f", default {row['default'] or 'empty'}" if given else ""
                click.echo(click.style(f"{row['variable']}={row['value']}", bold=given), nl=False)
                click.echo(f"  ({row['source']}{default})")
                click.echo(f"    {row['help']}")
                if row["in_force"] not in (None, row["value"]):
                    runs = "Shoal" if row["variable"] in ("SHOAL_HOST", "SHOAL_PORT") else "controller"
                    click.echo(f"    The {runs} that runs goes by {row['in_force'] or 'no value'}.")
    path = own_file()
    click.echo(f"\nThe controller's own file: {path}{'' if path.exists() else ' (does not exist)'}")


def shown(setting: Setting, value: object) -> str:
    """The value for a reader; of a secret only whether it is set."""
    if setting.secret:
        return "(set)" if value else ""
    return as_text(value)


def on_reload(setting: Setting) -> str:
    """When a new value in the controller's file holds: on "reload", at the "next launch", or after a "restart"."""
    if not setting.reload:
        return "restart"
    return "next launch" if setting.worker else "reload"


def markdown() -> str:
    """The page docs/settings.md."""
    parts = [HEAD]
    for group, title in GROUPS.items():
        lines = [f"\n## {title}\n", "| variable | default | meaning | range | a new value |", "|---|---|---|---|---|"]
        lines += [_line(one) for one in SETTINGS if one.group == group]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _line(one: Setting) -> str:
    cells = (
        f"`{one.variable}`" + (", *worker*" if one.worker else "") + (", *secret*" if one.secret else ""),
        f"`{as_text(one.default)}`" if as_text(one.default) else "",
        one.help + (f" `{one.also}` is read when this is not set." if one.also else ""),
        _range(one),
        on_reload(one),
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _range(one: Setting) -> str:
    if one.choices:
        return ", ".join(f"`{choice}`" for choice in one.choices)
    if one.least is None:
        return ""
    if one.most is None:
        return f"at least {as_text(float(one.least))}"
    return f"{as_text(float(one.least))} to {as_text(float(one.most))}"
