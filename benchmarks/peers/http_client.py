"""`python -m benchmarks.peers.http_client FOLDER PORT PATH FORM CLIENTS`: posts photos and waits for each answer.

FORM: the name of the file's field; `-` sends the photo as the body, `json:NAME` as base64 in that field of JSON.
CLIENTS: threads, each with a connection. A round ends when every photo has its answer. It serves rounds, see `rounds`.
"""

from __future__ import annotations

import base64
import http.client
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers import rounds

BOUNDARY = "xyz"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
IN_JSON = "json:"
ANSWER_SECONDS = 120.0
BUSY = 503
AGAIN_SECONDS = 0.1  # after a server was busy


def body_of(payload: bytes, field: str) -> tuple[bytes, str]:
    """The request's body and its content type. field: as FORM, but empty for the photo as the body."""
    if not field:
        return payload, "image/jpeg"
    if field.startswith(IN_JSON):
        encoded = base64.b64encode(payload).decode()
        return f'{{"{field.removeprefix(IN_JSON)}": "{encoded}"}}'.encode(), "application/json"
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + payload + f"\r\n--{BOUNDARY}--\r\n".encode(), FORM_TYPE


def connect(port: int) -> http.client.HTTPConnection:
    """A connection to this machine."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)


def ask(line: http.client.HTTPConnection, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Post, and read the answer."""
    line.request("POST", path, body, {"Content-Type": kind})
    answer = line.getresponse()
    return answer.status, answer.read()


def main() -> None:
    """Serve rounds until the input ends."""
    folder, port, path, field = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4].strip("-")
    clients = int(sys.argv[5])

    bodies: dict[bytes, tuple[bytes, str]] = {}  # made once: what the client does, all pay for

    def send(payloads: Sequence[bytes]) -> None:
        line = connect(port)
        for payload in payloads:
            if payload not in bodies:
                bodies[payload] = body_of(payload, field)
            status, told = ask(line, path, *bodies[payload])
            while status == BUSY:
                time.sleep(AGAIN_SECONDS)
                status, told = ask(line, path, *bodies[payload])
            if status != 200:
                raise RuntimeError(f"{path} answered {status}: {told[:300]!r}")
        line.close()

    def label_all(payloads: list[bytes]) -> None:
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(lambda first: send(payloads[first::clients]), range(clients)))

    rounds.serve(folder, label_all)


if __name__ == "__main__":
    main()
