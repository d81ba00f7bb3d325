"""A peer of the venue `local`: Flask under gunicorn, the engine in each worker. It runs in an environment of its own.

`gunicorn benchmarks.peers.gunicorn_peer:app` serves it.
"""

from __future__ import annotations

from flask import Flask, request

from benchmarks.peers.own_engine import label

app = Flask("peer")


@app.post("/label")
def answer() -> dict[str, list[tuple[str, float]]]:
    """The labels of the photo in the body."""
    return {"labels": label([request.get_data(cache=False)])[0]}
