"""What was measured of the settings' model on this machine, for what it would do on instance types."""

from __future__ import annotations

import os
from contextlib import suppress

from inference import measured, store
from shoal.deployment.instance_types import NOT_MEASURED, MeasuredRates, kind_of
from shoal.errors import ShoalError
from shoal.settings import Settings


def measured_rates(chosen: Settings) -> MeasuredRates:
    """The rates of the model in the arithmetics that it may compute in; ResNet50's where nothing was measured here."""
    with suppress(ShoalError):
        found = store.find(chosen.model, chosen.engine, chosen.cache_dir, chosen.model_weights, chosen.precision)
        here = found.measured.here() if found.measured else None
        if found.measured and here:
            agrees = {name for name, one in found.measured.agreement.items() if one.passes}
            rates = {
                name: one.images_per_second
                for name, one in here.measured.items()
                if name == "float32" or name in agrees
            }
            return MeasuredRates(rates, kind_of(measured.kind()), os.cpu_count() or 1)
    return NOT_MEASURED


def told_basis(chosen: Settings, rates: MeasuredRates) -> str:
    """Where the figures come from, in a sentence."""
    if not rates.is_of_this_model:
        return f"{chosen.model} was not measured here, `shoal models prepare` does that: these are ResNet50's figures."
    told = ", ".join(f"{name} {rate:g}" for name, rate in sorted(rates.rates.items()))
    return f"{chosen.model} on the {rates.cores} cores here ({rates.kind}), images/s of the engine: {told}."
