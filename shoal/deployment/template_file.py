"""The CloudFormation template `ami/stack.yaml`: read, and which of its resources some parameters make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from shoal.folders import folder

TEMPLATE = folder("ami") / "stack.yaml"
FUNCTION_VARIABLES = "Environment: {Variables: {SHOAL_PREFIX: !Ref Prefix, SHOAL_LAMBDA_PREFIX: !Ref LambdaPrefix"
MOST_BYTES = 51_200  # CloudFormation's limit for a template in a call


class _TemplateLoader(yaml.SafeLoader):  # type: ignore[misc] # PyYAML has no types
    """Reads CloudFormation's short functions (`!Ref`) as its long ones (`{"Ref": ...}`)."""


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_TemplateLoader.add_multi_constructor("!", _function)


@dataclass(frozen=True)
class StackTemplate:
    """A template. text: as it is sent, without the comments and with little indentation."""

    text: str

    @cached_property
    def body(self) -> dict[str, Any]:
        """All of it, with the long names of functions."""
        found: dict[str, Any] = yaml.load(self.text, _TemplateLoader)
        return found

    def text_for(self, prefix: str, of_the_function: Mapping[str, str] | None = None) -> str:
        """The text with the names of buckets and tables written out.

        CloudFormation takes in what an earlier stack left only where the template has its name, and no function.
        of_the_function: further variables of the Lambda function, which parameters cannot name.
        """
        named = re.sub(r"(BucketName|TableName): !Sub \$\{Prefix\}-", rf"\1: {prefix}-", self.text)
        more = "".join(f", {name}: {json.dumps(value)}" for name, value in sorted((of_the_function or {}).items()))
        return named.replace(FUNCTION_VARIABLES, f"{FUNCTION_VARIABLES}{more}")

    @property
    def parameters(self) -> dict[str, str | None]:
        """The default of each parameter; None where it has none."""
        return {
            name: None if "Default" not in one else str(one["Default"]) for name, one in self.body["Parameters"].items()
        }

    def made(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """The resources that these parameters make: their names in the template, and their types."""
        return {
            name: str(one["Type"])
            for name, one in self.body["Resources"].items()
            if "Condition" not in one or self.holds(one["Condition"], chosen)
        }

    def holds(self, condition: str, chosen: Mapping[str, str]) -> bool:
        """Whether a condition of the template holds."""
        values = {**self.parameters, **chosen}

        def true(one: Mapping[str, Any]) -> bool:
            ((function, of),) = one.items()
            if function == "Fn::Equals":
                left, right = (str(values[it["Ref"]]) if isinstance(it, dict) else str(it) for it in of)
                return left == right
            if function == "Condition":
                return self.holds(of, chosen)
            results = [true(it) for it in of]
            return {"Fn::And": all(results), "Fn::Or": any(results), "Fn::Not": not results[0]}[function]

        return true(self.body["Conditions"][condition])


@cache
def read(path: Path = TEMPLATE) -> StackTemplate:
    """The template in a file."""
    return StackTemplate(_narrow(re.sub(r"^ *# .*\n", "", path.read_text(), flags=re.MULTILINE)))


def _narrow(text: str) -> str:
    """The same template with as little indentation as YAML asks for, which saves a tenth of its bytes.

    The texts in it (`|`) stay as they are.
    """
    lines = []
    levels = [(0, 0)]  # of the blocks around a line: the indentation that they have, and that they get
    of_text, taken = 0, 0  # the least indentation of the lines of a text, 0 outside of one; what each of them loses
    for line in text.splitlines():
        content = line.lstrip(" ")
        indent = len(line) - len(content)
        if of_text and (indent >= of_text or not content):
            lines.append(line[taken:])
            continue
        while levels[-1][0] > indent:
            levels.pop()
        if levels[-1][0] < indent:
            levels.append((indent, levels[-1][1] + (0 if content.startswith("- ") else 1)))
        given = levels[-1][1]
        lines.append(" " * given + content)
        items = len(re.match(r"(- )*", content)[0])  # type: ignore[index] # it matches always
        levels += [(indent + more, given + more) for more in range(2, items + 1, 2)]
        of_text, taken = (indent + 1, indent - given) if re.search(r"[:\s]\|-?$", content) else (0, 0)
    return "\n".join(lines) + "\n"
