"""A run: the labelling of a whole bucket. And the keys of its objects in the output bucket. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from shoal.errors import MalformedMessage, Permanent
from shoal.messages import is_batch, is_model_name
from shoal.safe_json import integer, number, read_object, text

VERSION = 1
FOLDER = "runs"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
S3 = "s3://"
FAILED_OF = "failed photos of "  # and an id: the source of a run that tries again

FIRST_IMAGES = 20  # of the first shards: the first labels come in seconds
FIRST_SHARDS = 16
SHARD_SECONDS = 20.0  # of a worker's work for a shard: what is done again when a worker is killed
LEAST_IMAGES, MOST_IMAGES = 50, 500  # of a later shard

EXIF = ("time", "gps")

State = Literal["listing", "running", "paused", "cancelled", "done"]


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked for. It never changes; one JSON object keeps it.

    id:           looks like the id of a batch, so runs sort by time.
    source:       what is labelled, as the person gave it.
    bucket, prefix: where its photos are.
    target:       `s3://bucket/prefix`: where its results go. Else they go to the run's own folder in the output bucket,
                  and the person brings them to the folder that this names.
    model:        its name; empty for the workers' default.
    top:          labels kept of each photo, best first; 0 for all that the model tells.
    threshold:    labels and detections below this probability are left out.
    where:        the pattern of the file names, for example `*.jpg`; empty for all.
    limit:        photos at most; 0 for all.
    shard_images: photos in a shard, after the first few.
    deadline:     when it should be done, seconds since 1970; 0 for no such time.
    fail_above:   the share of failed photos above which the run pauses; 1 for never.
    not_if_done:  leave out photos that earlier runs of this source and target have labelled and that are unchanged.
    price_per_hour: of a worker, in dollars; 0 when it costs nothing or is not known.
    sample:       how many photos of the source are drawn at random; 0 for all.
    besides:      the id of a run, a sample: the photos that it has labelled are left out; empty for none.
    hash:         whether each row gets a perceptual hash.
    exif:         what each row tells of the photo's EXIF data: some of EXIF, with commas.
    listed_here:  whether a client lists the photos (a folder, a sample), and not the workers.
    list_kind:    of a source that is a list of photos: what its lines are (`runs.lists.reading`); else empty. Keys
                  without an address are in `bucket`.
    list_at:      the address of that list; with `list_parts`, what the addresses of so many parts of it begin with.
    """

    id: str
    source: str
    bucket: str
    prefix: str
    target: str = ""
    model: str = ""
    top: int = 5
    threshold: float = 0.0
    where: str = ""
    limit: int = 0
    shard_images: int = 200
    deadline: float = 0.0
    fail_above: float = 1.0
    not_if_done: bool = False
    price_per_hour: float = 0.0
    listed_here: bool = False
    sample: int = 0
    besides: str = ""
    hash: bool = False
    exif: str = ""
    list_kind: str = ""
    list_at: str = ""
    list_parts: int = 0

    @property
    def leaves_out(self) -> bool:
        """Whether photos are left out that other runs have labelled."""
        return self.not_if_done or bool(self.besides)

    def to_json(self) -> str:
        """The object `run.json`."""
        return json.dumps({"v": VERSION} | asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, body: str | bytes) -> Run:
        """Read `run.json`. Raises MalformedMessage."""
        found = read_object(body, "a run")
        if found.get("v") != VERSION:
            raise MalformedMessage(f"the run has another version than {VERSION}, the one that this program knows")
        try:
            run = cls(**{one.name: _READ[str(one.type)](found[one.name]) for one in fields(cls) if one.name in found})
        except (TypeError, ValueError) as error:
            raise MalformedMessage(f"the run has malformed fields: {error}") from error
        named = all(is_batch(one) for one in (run.id, run.besides or run.id))
        if not named or (run.model and not is_model_name(run.model)):
            raise MalformedMessage("the run has no valid id or model")
        return run

    def images_of(self, shard: int) -> int:
        """How many photos the shard of this number gets, unless there are fewer left."""
        return min(FIRST_IMAGES, self.shard_images) if shard < FIRST_SHARDS else self.shard_images


def again(run: Run, id_: str) -> Run:
    """A run for the photos of another that failed. The workers find them in its results."""
    return replace(
        run,
        id=id_,
        source=f"{FAILED_OF}{run.id}",
        where="",
        limit=0,
        deadline=0.0,
        not_if_done=False,
        listed_here=False,
        sample=0,
        besides="",
        list_kind="",
        list_at="",
        list_parts=0,
    )


def shard_images(service_seconds: float) -> int:
    """How many photos a shard gets where a photo takes so many seconds of a worker."""
    return max(LEAST_IMAGES, min(MOST_IMAGES, round(SHARD_SECONDS / max(service_seconds, 0.001))))


def split_address(address: str) -> tuple[str, str]:
    """The bucket and the prefix of `s3://bucket/prefix`. Raises Permanent."""
    bucket, _, prefix = address.removeprefix(S3).partition("/")
    if not address.startswith(S3) or not bucket:
        raise Permanent(f"{address!r} is not an address like s3://bucket/prefix")
    return bucket, prefix


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false was expected")
    return value


_READ: dict[str, Any] = {"str": text, "int": integer, "float": number, "bool": _truth}

# The keys of a run's objects, in the output bucket.


def folder_of(run: str) -> str:
    """What all keys of a run begin with."""
    return f"{FOLDER}/{run}/"


def run_key(run: str) -> str:
    return f"{folder_of(run)}run.json"


def control_key(run: str) -> str:
    return f"{folder_of(run)}control.json"


def step_key(run: str, step: int) -> str:
    """What a step of the listing has found."""
    return f"{folder_of(run)}listing/{step:08d}.json"


def listed_key(run: str) -> str:
    """The totals of the listing, once it is done."""
    return f"{folder_of(run)}listed.json"


def manifest_key(run: str, shard: int) -> str:
    return f"{folder_of(run)}shards/{shard:08d}.jsonl"


def results_key(run: str, shard: int) -> str:
    return f"{folder_of(run)}results/{shard:08d}.jsonl"


def done_folder(run: str) -> str:
    return f"{folder_of(run)}done/"


def summary_key(run: str) -> str:
    return f"{folder_of(run)}summary.json"
