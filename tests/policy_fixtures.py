"""What a policy grants, and what of it an embedded cloud has seen used: pairs of a statement's Sid and an action."""

import json
from pathlib import Path


def granted(policy: Path) -> set[tuple[str, str]]:
    return {
        (statement["Sid"], action)
        for statement in json.loads(policy.read_text())["Statement"]
        if statement["Effect"] == "Allow"
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def used(state_dir: Path, role: str) -> set[tuple[str, str]]:
    noted = [line for file in state_dir.glob("cloud/used-by-roles-*.jsonl") for line in file.read_text().splitlines()]
    return {(one["statement"], one["action"]) for one in map(json.loads, noted) if one["role"] == role}
