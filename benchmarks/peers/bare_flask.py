"""The least code that takes photos in: Flask, waitress, one PUT. The API's intake is compared with it.

`python -m benchmarks.peers.bare_flask PORT THREADS`, in the environment of the system that is compared.
"""

from __future__ import annotations

import sys
import uuid

import waitress
from flask import Flask, request

from shoal.aws import connect
from shoal.settings import load


def main() -> None:
    """Serve until terminated."""
    port, threads = int(sys.argv[1]), int(sys.argv[2])
    inputs = connect(load()).inputs
    app = Flask("bare")

    @app.post("/")
    def take() -> dict[str, str]:
        photo = request.files["inputFile"]
        key = f"bare/{uuid.uuid4().hex}/{photo.filename}"
        inputs.put(key, photo.read(), photo.mimetype)
        return {"key": key}

    waitress.serve(app, host="127.0.0.1", port=port, threads=threads, ident=None)


if __name__ == "__main__":
    main()
