"""The options of `shoal plan` and `shoal deploy`, and the settings that they go by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from shoal import settings
from shoal.deployment.choices import Choices, recalled
from shoal.deployment.reasons import explained
from shoal.errors import Permanent, ShoalError
from shoal.settings import Settings

_OPTIONS = (
    click.option(
        "--private/--no-private", default=False, help="Make a network whose workers reach AWS' services alone."
    ),
    click.option("--vpc", default="", help="A network of yours instead of the account's default one."),
    click.option("--subnets", default="", help="Its subnets, separated by commas; the page is in the first."),
    click.option("--page/--no-page", default=True, help="Also the page and the controller, on one small instance."),
    click.option("--domain", default="", help="The page's name: TLS, by a load balancer and a certificate of AWS."),
    click.option("--zone", default="", help="The domain's zone in Route 53, such as Z0123456789."),
    click.option(
        "--thrifty/--no-thrifty", default=False, help="With --domain: Caddy with a certificate, and no load balancer."
    ),
    click.option(
        "--visitors", default="", help="Who reaches the page, as 203.0.113.0/24. Without a domain: you alone."
    ),
    click.option("--page-type", default="t3.small", show_default=True, help="The type of the page's instance."),
    click.option("--page-image", default="", help="Its machine image; the newest Debian 12 when not given."),
    click.option("--email", default="", help="Who is told of alarms and of the budget."),
    click.option("--budget", default=0.0, type=click.FloatRange(0), help="US dollars a month, for alarm and budget."),
    click.option("--keep-days", default=0, type=click.IntRange(0, 3650), help="Delete photos after so many days."),
    click.option("--tails/--no-tails", default=False,
                 help="Also a Lambda function for the tails in SHOAL_TAILS, of the image SHOAL_LAMBDA_IMAGE."),
)  # fmt: skip

# Of the commands that go by the options of the last deployment where they are not given.
forget_option = click.option("--forget", is_flag=True, help="Leave out the options of the last `shoal deploy`.")


def choices_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a deployment."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def choices_of(options: dict[str, Any]) -> Choices:
    """The choices in the options of a command. Raises SettingsError for those that do not fit together."""
    choices = _given_now(options)
    choices.check()
    return choices


def choices_after(chosen: Settings, options: dict[str, Any]) -> Choices:
    """The choices in the options of a command; where an option is not given, that of the last `shoal deploy`.

    Says which of these hold again. Asks AWS. Raises SettingsError, and what AWS refuses.
    """
    from shoal.aws.deploying.deployment import last_options

    source = click.get_current_context().get_parameter_source
    given = {name for name in options if source(name) == ParameterSource.COMMANDLINE}
    choices = _given_now(options).after(recalled(last_options(chosen)), given)
    if again := [word for name, word in words(choices).items() if name not in given]:
        click.echo(f"As at the last deployment: {' '.join(again)} (--forget leaves that out)")
    choices.check()
    return choices


def words(choices: Choices) -> dict[str, str]:
    """The options that say these choices, by their names; without those that are the defaults."""
    found = {}
    for name, value in json.loads(choices.text()).items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found[name] = option if value else f"--no-{name}"
        else:
            text = ",".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else value
            found[name] = f"{option} {text}"
    return found


def _given_now(options: dict[str, Any]) -> Choices:
    subnets = tuple(filter(None, map(str.strip, options["subnets"].split(","))))
    return Choices(**{**options, "subnets": subnets})


def deployed_settings() -> Settings:
    """The settings in the environment. Not those of the embedded cloud: a deployment is on AWS."""
    return settings.load()


@contextmanager
def explaining(hint: str, interrupted: str = "interrupted; AWS goes on with what it has begun") -> Iterator[None]:
    """Say what to do about AWS' refusals, and `hint`: how to go on. Ctrl-C is such an end, too."""
    try:
        yield
    except KeyboardInterrupt:
        raise Permanent(f"{interrupted}. {hint}") from None
    except ShoalError as error:
        raise type(error)(f"{explained(str(error))}. {hint}") from error
