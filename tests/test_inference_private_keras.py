"""The functions of Keras outside its public API are where they were; one that moved is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from inference.preparing import private_keras
from shoal.errors import Permanent

ROOT = Path(__file__).parent.parent


def test_every_private_function_is_there_with_the_parameters_it_had() -> None:
    private_keras.check()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (("keras.src.gone", "get_file", ()), "this version of Keras has no keras.src.gone.get_file any more"),
        (("keras.src.utils.file_utils", "gone", ()), "has no keras.src.utils.file_utils.gone any more"),
        (("keras.src.utils.file_utils", "get_file", ("origin",)), "get_file of this version of Keras takes ('fname'"),
    ],
)
def test_one_that_moved_is_named(function: private_keras.PrivateFunction, message: str) -> None:
    with pytest.raises(Permanent, match=re.escape(message)):
        private_keras.check([function])


def test_no_other_file_uses_what_keras_does_not_publish() -> None:
    for path in (ROOT / "inference").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            named += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            private = any(name.startswith("keras.src") for name in named)
            assert not private or path.name == "private_keras.py", f"{path} imports {named}"
