"""What the description of the API has besides where people sign in: keys, one's own batches, share links."""

from __future__ import annotations

from typing import Any

from web_tier.schemas.requests import BATCH_ID, TEXT, Schema, described, list_of, record

SCHEME = "apiKey"
SHARE = "share"
"""The query parameter with which somebody else's batch can be read."""

_OPEN = ("/healthz", "/readyz")

_SHARE = {
    "name": SHARE,
    "in": "query",
    "schema": {"type": "string", "maxLength": 100},
    "description": "The token of a share link, for the batch of somebody else",
}
_LISTED = record(
    {
        "batch": BATCH_ID,
        "page": described("The path of the batch's page"),
        "total": {"type": "integer", "minimum": 0},
        "answered": {"type": "integer", "minimum": 0},
        "began": {"type": ["string", "null"], "description": "When its first photo was stored (UTC)"},
        "shared": {"type": "boolean"},
        "line": TEXT,
    }
)
_SHARED = record(
    {
        "batch": BATCH_ID,
        "link": {"type": ["string", "null"], "description": "Whoever has it can look at the batch; null when revoked"},
    }
)


def secured(whole: Schema) -> Schema:
    """The document `whole` for a server where programs need a key."""
    batch = {"name": "batch", "in": "path", "required": True, "schema": BATCH_ID, "description": "The id of the batch."}
    own = {"operationId": "listBatches", "summary": "The newest batches of who asks", "parameters": []}
    share = {"operationId": "shareBatch", "summary": "Make a link with which others may look at a batch"}
    unshare = {"operationId": "unshareBatch", "summary": "Revoke the share link of a batch"}
    paths = dict(whole["paths"])
    paths["/v1/batches"] = paths["/v1/batches"] | {
        "get": own | _answers("The batches", record({"batches": list_of(_LISTED, 0, 20)}))
    }
    for operation, path in ((share, "share"), (unshare, "unshare")):
        answers = _answers("The link, if there is one", _SHARED, "404")
        paths[f"/v1/batches/{{batch}}/{path}"] = {"post": operation | {"parameters": [batch]} | answers}
    paths = {path: _asking(operations) if path not in _OPEN else operations for path, operations in paths.items()}
    for path, operations in paths.items():
        if path.startswith("/v1/batches/{batch}") and "get" in operations:
            operations["get"] = operations["get"] | {"parameters": [*operations["get"]["parameters"], _SHARE]}
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "A key that `shoal keys add` made. Its scopes: label (send photos), read (own batches and those "
        "that were shared), operate (the fleet).",
    }
    parts = whole["components"] | {"securitySchemes": {SCHEME: scheme}}
    return whole | {"paths": paths, "components": parts, "security": [{SCHEME: []}]}


def _asking(operations: dict[str, Any]) -> dict[str, Any]:
    """The operations of a path, which refuse those without a key."""
    refused = {status: {"$ref": f"#/components/responses/{status}"} for status in ("401", "403")}
    return {
        method: operation | {"responses": operation["responses"] | refused} for method, operation in operations.items()
    }


def _answers(text: str, schema: Schema, *problems: str) -> Schema:
    told = {"200": {"description": text, "content": {"application/json": {"schema": schema}}}}
    return {"responses": told | {one: {"$ref": f"#/components/responses/{one}"} for one in (*problems, "503")}}
