"""The fleet page: how many machines, what they do, what they cost and why, and what an operator can do about it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial

from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as BaseResponse

from shoal.errors import ShoalError
from shoal.prices import cost_title, dollars, price_in_words, price_per_hour
from shoal.settings import change_for, in_force
from web_tier.access.rights import Right, needs
from web_tier.problems import Problem
from web_tier.routes import operator
from web_tier.services import services
from web_tier.words import duration

log = logging.getLogger(__name__)

blueprint = Blueprint("fleet", __name__)

# A policy may be `module:attribute`, and what arrives in a request is never imported.
LIVE = tuple(one for one in in_force.RELOADED if one.group in ("pool", "budget") and one.name != "policy")


@blueprint.get("/fleet")
@needs(Right.OPERATE)
def fleet_page() -> str:
    """The fleet now; the page's script asks again every other second."""
    return _fleet_page()


def _check_pool() -> None:
    if not services().has_pool:
        raise Problem(404, "This server labels photos itself: it has no pool of machines to show.")


def _fleet_page(refused: str = "") -> str:
    """The page; `refused` says why a setting was not changed, and the form keeps what was asked for.

    Raises Problem (404) where there is no pool.
    """
    _check_pool()
    signed_in, settings = operator.signed_in(), in_force.applied(services().settings)
    return render_template(
        "fleet.html",
        report=services().reporter.read(),
        settings=settings,
        price=price_per_hour(settings),
        price_in_words=price_in_words(settings),
        cost_title=cost_title(settings),
        signed_in=signed_in,
        may_sign_in=services().entrance.signs_in or bool(settings.operator_secret),
        token=operator.token(),
        told=operator.told(),
        live=_live_settings() if signed_in else (),
        refused=refused,
        asked=request.form if refused else {},
    )


@blueprint.get("/fleet.json")
@needs(Right.OPERATE)
def fleet_json() -> Response:
    """The same for programs."""
    _check_pool()
    return jsonify(services().reporter.read().to_dict())


@blueprint.get("/fleet/sign-in")
@needs(Right.NOTHING)
def sign_in_page() -> BaseResponse:
    """Where the operator says the secret."""
    if services().entrance.signs_in:
        return redirect(url_for("sign_in.sign_in_page", next="/fleet"), 303)
    return _sign_in_page()


@blueprint.post("/fleet/sign-in")
@needs(Right.NOTHING)
def sign_in() -> BaseResponse:
    """Sign in."""
    _check_own_sign_in()
    if operator.check_secret():
        response = redirect(url_for("fleet.fleet_page"), 303)
        operator.sign_in(response)
        return response
    log.warning("a wrong operator's secret was given, from %s", request.remote_addr)
    return _sign_in_page("That is not the operator's secret.", 403)


@blueprint.post("/fleet/sign-out")
@needs(Right.NOTHING)
def sign_out() -> BaseResponse:
    """Sign out."""
    _check_own_sign_in()
    response = redirect(url_for("fleet.fleet_page"), 303)
    operator.sign_out(response)
    return response


@blueprint.post("/fleet/setting")
@needs(Right.OPERATE)
def change_setting() -> BaseResponse:
    """Change a setting of the running controller, and tell what holds now; 400 and the reason when it is refused."""
    operator.check_operator()
    name, value = request.form.get("name", ""), request.form.get("value", "").strip()
    if name not in {one.variable for one in LIVE}:
        raise Problem(400, "That setting cannot be changed here.")
    try:
        sentences = change_for(services().settings, {name: value})
    except ShoalError as error:
        return make_response(_fleet_page(f"Nothing was changed. {error}"), 400)
    log.info("the operator changed a setting: %s", "; ".join(sentences))
    services().reporter.changed()
    for sentence in sentences:
        operator.tell(sentence)
    return redirect(url_for("fleet.fleet_page"), 303)


def _check_own_sign_in() -> None:
    """Raise Problem (404) where operators sign in as all do."""
    if services().entrance.signs_in:
        raise Problem(404, "Sign in and out at /sign-in and /sign-out.")


def _live_settings() -> list[tuple[str, str]]:
    """The settings that can be changed here, with the values that the controller goes by; none if none runs here."""
    found = in_force.read(services().settings.state_dir)
    values = found.values if found else {}
    return [(one.variable, values[one.variable]) for one in LIVE if one.variable in values]


def _sign_in_page(error: str = "", status: int = 200) -> Response:
    possible = bool(services().settings.operator_secret)
    return make_response(render_template("operator.html", error=error, possible=possible), status)


@blueprint.app_template_filter("clock")
def clock(at: float) -> str:
    """A time of day (UTC) of seconds since 1970."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


blueprint.add_app_template_filter(dollars)
blueprint.add_app_template_filter("{:,}".format, "number")
blueprint.add_app_template_filter(partial(duration, exact=True), "brief")
