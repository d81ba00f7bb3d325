"""What the API has about bulk runs: the body that begins one, the answers, and the operations for its description."""

from __future__ import annotations

from runs.asking import TIME_PATTERN
from runs.run import EXIF
from web_tier.schemas.answers import COUNT, DURATION, SHARE, reference
from web_tier.schemas.requests import BATCH_ID, MODEL, MOST_PHOTOS, TEXT, WEBHOOK, Schema, described, list_of, record

MOST_ADDRESS = 1_200  # characters: a bucket and a key of 1,024 bytes
MOST_RUNS = 50  # in a list
CURSOR_PATTERN = "^[0-9]{1,8}-[0-9]{1,6}$"

_ADDRESS = {"minLength": 6, "maxLength": MOST_ADDRESS, "pattern": "^s3://"}

RUN: Schema = record(
    {
        "source": described("What is labelled: `s3://bucket/prefix`, in a place that the operator allows.") | _ADDRESS,
        "into": described(
            "Where the results go, in a place that the operator allows; without it they stay in Shoal's own bucket."
        )
        | _ADDRESS,
        "model": MODEL,
        "where": described("Only keys whose name fits this pattern, such as `*.jpg`.") | {"maxLength": 200},
        "limit": COUNT | {"maximum": 10**9, "description": "At most so many photos; 0 for all."},
        "top": COUNT | {"maximum": 10_000, "description": "Labels of each photo; 0 for all that the model tells."},
        "threshold": SHARE | {"description": "Leave out labels and detections of a lower probability."},
        "not_if_done": {"type": "boolean", "description": "Only what is new, changed, failed, or of another model."},
        "deadline": described("When it should be done, from now: `30m`, `6h`, `2d`.") | {"pattern": TIME_PATTERN},
        "fail_above": SHARE | {"description": "Pause when a larger share of the photos fails; 0.5 without it."},
        "hash": {"type": "boolean", "description": "Also a perceptual hash of each photo, for near-duplicates."},
        "exif": list_of({"enum": list(EXIF)}) | {"description": "What each row tells of when and where it was taken."},
        "webhook": WEBHOOK,
    },
    ["source"],
) | {"additionalProperties": False}

_EXAMPLE = {"source": "s3://photos/2026/", "where": "*.jpg"}

_CURSOR = {
    "name": "cursor",
    "in": "query",
    "schema": {"type": "string", "pattern": CURSOR_PATTERN},
    "description": "The first row of the page, from `next` of the page before.",
}
ROWS_LIMIT: Schema = {"type": "integer", "minimum": 1, "maximum": MOST_PHOTOS, "default": 100}
_STATUS: Schema = {"enum": ["failed"]}

_COST = record({name: DURATION for name in ("computing", "requests", "storage_month", "total")}) | {
    "description": "In dollars, by part; storage_month is a month of it and not in the total."
}
_PART = record({"key": TEXT, "rows": COUNT, "first": TEXT, "last": TEXT})

STATE = record(
    {
        "run": BATCH_ID,
        "source": TEXT,
        "target": described("Where the results go; empty for Shoal's own bucket"),
        "model": described("Empty for the default one"),
        "began": {"type": "string", "format": "date-time"},
        "state": {"enum": ["listing", "running", "paused", "cancelled", "done"]},
        "why": described("Why it is paused, where a reason is known"),
        "listed": COUNT | {"description": "Photos found until now; all of them if `listing_done`"},
        "listing_done": {"type": "boolean"},
        "done": COUNT | {"description": "Photos with a row: labelled and failed together"},
        "labelled": COUNT,
        "failed": COUNT,
        "images_per_second": DURATION | {"description": "Now; of a run that has ended, over all of its time"},
        "seconds_left": {"type": ["number", "null"], "description": "At this speed; null when nobody can tell"},
        "worker_seconds": DURATION,
        "cost": DURATION | {"description": "Dollars until now; 0 where a worker costs nothing"},
        "expected_cost": {"type": ["number", "null"], "description": "Dollars in the end; null when nobody can tell"},
        "workers": {"type": ["integer", "null"], "description": "That label photos of runs now, of any run"},
        "page": described("The path of the run's page"),
        "results": described("The path of the run's rows"),
        "parts": list_of(_PART) | {"description": "The objects with all rows, once the run has ended"},
        "cost_by_part": _COST | {"type": ["object", "null"]},
    }
)

_ROW = record(
    {
        "key": TEXT,
        "etag": TEXT,
        "size": COUNT,
        "status": {"enum": ["done", "failed"]},
        "labels": list_of(reference("Label")),
        "error": described("Why the photo failed"),
        "model": TEXT,
    }
)

_FORECAST = record(
    {
        "images": COUNT,
        "size": COUNT | {"description": "Bytes of these photos"},
        "more": {"type": "boolean", "description": "Whether there are more than these, which were counted"},
        "seconds": DURATION | {"description": "Of one worker"},
        "cost": DURATION | {"description": "Dollars; 0 where a worker costs nothing, or its price is unknown"},
    }
)

RUN_ANSWERS: dict[str, Schema] = {
    "Run": STATE,
    "RunForecast": _FORECAST,
    "Runs": record({"runs": list_of(reference("Run"), at_most=MOST_RUNS)}),
    "RunRows": record(
        {
            "rows": list_of(_ROW),
            "next": {
                "type": ["string", "null"],
                "description": "The path of the next page; null after the last row of a run that has ended. While it "
                "runs, ask for it again later when a page is empty",
            },
        }
    ),
}

RUN_EVENT = record(
    {
        "type": {"const": "run.done"},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": reference("Run"),
    }
)


def run_paths(key: Schema, replayed: Schema) -> Schema:
    """The operations. key: the parameter Idempotency-Key. replayed: the header of an answer that repeats one."""
    run = {"name": "run", "in": "path", "required": True, "schema": BATCH_ID, "description": "The id of the run."}
    body = {
        "required": True,
        "content": {"application/json": {"schema": reference("RunRequest"), "example": _EXAMPLE}},
    }
    expected = {
        "operationId": "expectOfRun",
        "summary": "What a run would take and cost",
        "description": "Counts the first 20,000 keys, for 3 s at most, and reckons by the measured rates. Nothing "
        "begins. With `not_if_done` it will take at most so much.",
        "parameters": [],
        "requestBody": body,
        "responses": {"200": _answer("What it would take", "RunForecast")} | _problems("400", "403", "413", "415"),
    }
    begin = {
        "operationId": "beginRun",
        "summary": "Label all photos below a prefix of a bucket",
        "description": "The workers list the bucket and label it when nobody waits for a photo; see docs/bulk.md. 403: "
        "the source is not in SHOAL_RUN_SOURCES, or the target not in SHOAL_RUN_TARGETS.",
        "parameters": [key],
        "requestBody": body,
        "responses": {"201": _answer("The run has begun", "Run") | replayed}
        | _problems("400", "403", "409", "413", "415", "422"),
    }
    verbs = {
        "pause": "Let a run rest",
        "resume": "Let a run go on, and send again what is not done",
        "cancel": "End a run with what is labelled until now",
    }
    retry = _operation("retryFailedOfRun", "Begin a run for the photos that failed", "Run", [run], "404", "409")
    retry["responses"]["201"] = retry["responses"].pop("200")
    status = {"name": "status", "in": "query", "schema": _STATUS, "description": "Only rows of photos that failed."}
    limit = {
        "name": "limit",
        "in": "query",
        "schema": ROWS_LIMIT,
        "description": "Rows at most; fewer may come.",
    }
    return {
        "/v1/runs": {"post": begin, "get": _operation("listRuns", "The newest runs", "Runs", [])},
        "/v1/forecasts": {"post": expected},
        "/v1/runs/{run}": {"get": _operation("getRun", "How far a run is", "Run", [run], "404")},
        "/v1/runs/{run}/results": {
            "get": _operation(
                "getRunResults", "The rows of a run", "RunRows", [run, _CURSOR, limit, status], "400", "404"
            )
        },
        "/v1/runs/{run}/retry-failed": {"post": retry},
        **{
            f"/v1/runs/{{run}}/{verb}": {"post": _operation(f"{verb}Run", text, "Run", [run], "404", "409")}
            for verb, text in verbs.items()
        },
    }


def _operation(name: str, summary: str, answer: str, parameters: list[Schema], *problems: str) -> Schema:
    responses = {"200": _answer(summary, answer)} | _problems(*problems)
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def _answer(text: str, name: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": reference(name)}}}


def _problems(*statuses: str) -> Schema:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in (*statuses, "503")}
