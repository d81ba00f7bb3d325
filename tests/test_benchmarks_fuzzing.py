"""Each input of the fuzzing corpus, what broke a reader once included, breaks none."""

from __future__ import annotations

import pytest

from benchmarks.fuzzing.__main__ import CORPUS, NAMES
from benchmarks.fuzzing.targets import TARGETS

INPUTS = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_reader_has_inputs_to_begin_with() -> None:
    assert set(NAMES) == set(TARGETS) == {path.parent.name for path in INPUTS}


@pytest.mark.parametrize("name", NAMES)
def test_no_input_breaks_its_reader(name: str) -> None:
    for path in INPUTS:
        if path.parent.name == name:
            TARGETS[name](path.read_bytes())
