"""A peer of the venue `local`: LitServe. It runs in an environment of its own.

`python -m benchmarks.peers.litserve_peer PORT WORKERS BATCH` serves it. A photo is base64 in JSON, as in its examples:
it takes no bodies that are photos, and breaks on forms that hold files.
"""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]

from benchmarks.peers import own_engine

BATCH_SECONDS = 0.005  # that a photo waits for others


class LitLabeller(litserve.LitAPI):  # type: ignore[misc]
    """Labels a photo, or several in one call of the engine."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe gives it
        """Load the engine, in a worker's process."""
        own_engine.recogniser()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """The photo's bytes."""
        return base64.b64decode(request["photo"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """As they are: the engine's part decodes them."""
        return inputs

    def predict(self, photos: Any) -> Any:
        """The labels of one photo, or of each of several."""
        return own_engine.label(photos) if isinstance(photos, list) else own_engine.label([photos])[0]

    def unbatch(self, output: Any) -> Any:
        """It is a list already."""
        return output

    def encode_response(self, output: list[tuple[str, float]]) -> dict[str, Any]:
        """As JSON."""
        return {"labels": output}


def main() -> None:
    """Serve until terminated."""
    port, workers, batch = map(int, sys.argv[1:])
    api = LitLabeller(max_batch_size=batch, batch_timeout=BATCH_SECONDS if batch > 1 else 0.0, api_path="/label")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
