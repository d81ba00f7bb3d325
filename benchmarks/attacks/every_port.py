"""`python -m benchmarks.attacks.every_port`: who has no key, at every port that a running Shoal listens on.

A page of another origin calls each port in a real browser, in every way that a page can. Then a program of a local user
without the key calls each port but the page's. Nothing may be read but health, and nothing may change: no machine, no
object, no message. Exits with status 1 otherwise.
"""

from __future__ import annotations

import http.server
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import requests
from rich.console import Console
from rich.table import Table

from benchmarks.default import chromium
from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import colours
from benchmarks.torture.coloured_system import coloured_system

RUN = "Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=1&InstanceType=t3.micro"
FORM = "application/x-www-form-urlencoded"
HEALTH = ("/healthz", "/readyz", "/_ministack/health", "/_localstack/health", "/health")
ANSWER_SECONDS = 10.0
RESULT_SECONDS = 60.0

# What a page read of each call, as (way, url, text). A picture counts as read when its size is known.
IN_BROWSER = """
async (calls) => {
  const read = [];
  for (const {url, method, body, type} of calls) {
    for (const mode of ["cors", "no-cors"])
      for (const extra of [{}, {"x-amz-target": "AmazonSQS.ListQueues"}])
        try {
          const headers = {...(type ? {"Content-Type": type} : {}), ...extra};
          const answer = await fetch(url, {method, mode, headers, body: body ?? undefined, credentials: "include"});
          const text = await answer.text();
          if (answer.type !== "opaque" || text) read.push([mode, url, text.slice(0, 200)]);
        } catch (error) { /* the browser let nothing through */ }
    if (method === "GET") {
      const size = await new Promise(done => { const picture = new Image();
        picture.onload = () => done(picture.naturalWidth); picture.onerror = () => done(0); picture.src = url; });
      if (size) read.push(["img", url, `${size} pixels wide`]);
      const frame = document.createElement("iframe");
      await new Promise(done => { frame.onload = done; setTimeout(done, 500);
        frame.src = url; document.body.append(frame); });
      const inside = frame.contentDocument?.body?.innerText;  // null for a page of another origin
      if (inside) read.push(["frame", url, inside]);
      frame.remove();
    }
  }
  return read;
}
"""


@dataclass(frozen=True, slots=True)
class KeylessCall:
    """A request that reads or changes something where nobody asks for a key."""

    method: str
    path: str
    body: str | None = None
    type: str = ""


def calls(system: RunningSystem, key: str) -> list[KeylessCall]:
    """All calls that are tried at each port. key: of a photo that is there."""
    chosen, batch = system.settings, key.partition("/")[0]
    objects = [f"/{bucket}/{key}" for bucket in (chosen.in_bucket, chosen.out_bucket)]
    return [
        *(
            KeylessCall("GET", path)
            for path in ("/", "/metrics", "/fleet.json", f"/batches/{batch}.json", f"/batches/{batch}")
        ),
        *(KeylessCall("GET", f"/batches/{batch}/photos/0/{what}") for what in ("thumbnail", "picture")),
        *(KeylessCall("GET", path) for path in ("/latest/meta-data/", "/latest/user-data", "/moto-api/data.json")),
        *(KeylessCall("GET", f"/?Action={what}") for what in ("ListQueues", "DescribeInstances", "ListUsers")),
        *(KeylessCall("GET", f"/{bucket}?list-type=2") for bucket in (chosen.in_bucket, chosen.out_bucket)),
        *(
            KeylessCall("GET", path)
            for path in (*objects, f"/cloudimagerecognition.php?input=http://127.0.0.1/{batch}.jpg")
        ),
        *(KeylessCall("PUT", path, "other") for path in (*objects, "/latest/api/token", f"/{chosen.in_bucket}/new")),
        *(KeylessCall("DELETE", path) for path in (*objects, f"/batches/{batch}", f"/v1/batches/{batch}")),
        *(KeylessCall("POST", path, RUN, FORM) for path in ("/", "/v1/batches")),
        *(
            KeylessCall("POST", "/", f"Action={what}", FORM)
            for what in ("ListQueues", "DescribeInstances", "ListUsers")
        ),
        *(
            KeylessCall("POST", f"/{queue}", "Action=PurgeQueue", FORM)
            for queue in (chosen.req_queue, chosen.resp_queue)
        ),
        *(KeylessCall("POST", path, "") for path in ("/_ministack/reset", "/moto-api/reset", "/_localstack/init")),
        *(KeylessCall("POST", f"/batches/{batch}/{what}", "", FORM) for what in ("cancel", "delete", "retry", "share")),
        KeylessCall("POST", "/", '{"QueueName": "a"}', "text/plain"),
        KeylessCall("POST", f"/{chosen.in_bucket}?delete", "<Delete/>", "text/plain"),
        KeylessCall("POST", "/batches", "", FORM),
        KeylessCall("POST", "/v1/batches", '{"photos": [{"url": "http://127.0.0.1/a.jpg"}]}', "text/plain"),
    ]


def ports(system: RunningSystem) -> list[int]:
    """The ports on which a process of the system listens."""
    found = set()
    for process in system.processes():
        for one in process.net_connections("inet"):
            if one.status == "LISTEN":
                found.add(one.laddr.port)
    return sorted(found)


def state(system: RunningSystem) -> dict[str, Any]:
    """What an attacker could have changed."""
    chosen, s3 = system.settings, system.client("s3")
    objects = {
        f"{bucket}/{key}": s3.head_object(Bucket=bucket, Key=key)["ETag"]
        for bucket in (chosen.in_bucket, chosen.out_bucket)
        for key in system.keys(bucket)
    }
    machines = sorted((one["InstanceId"], one["State"]["Name"]) for one in system.machines())
    queues = [(url.rpartition("/")[2]) for url in system.client("sqs").list_queues().get("QueueUrls", [])]
    waiting = {queue: system.waiting(queue) for queue in queues}
    return {"objects": objects, "machines": machines, "waiting": waiting}


@contextmanager
def _another_origin() -> Iterator[str]:
    """The address of a page that is not ours."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>elsewhere</title><body></body>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def by_browser(found: Sequence[int], tried: Sequence[KeylessCall]) -> list[str]:
    """What a page of another origin reads."""
    with _another_origin() as elsewhere, chromium() as browser:
        page = browser.new_page()
        page.goto(elsewhere)
        read = []
        for port in found:
            told = [
                {"url": f"http://127.0.0.1:{port}{one.path}", "method": one.method, "body": one.body, "type": one.type}
                for one in tried
            ]
            read += page.evaluate(IN_BROWSER, told)
    return [f"a page reads {url} by {way}: {text!r}" for way, url, text in read]


def by_program(found: Sequence[int], tried: Sequence[KeylessCall]) -> list[str]:
    """What a program without the key reads."""
    read = []
    for port in found:
        for one in tried:
            headers = {"Content-Type": one.type} if one.type else {}
            url = f"http://127.0.0.1:{port}{one.path}"
            try:
                answer = requests.request(one.method, url, data=one.body, headers=headers, timeout=ANSWER_SECONDS)
            except requests.RequestException:
                continue
            if answer.ok and one.path not in HEALTH:
                read.append(f"a program is answered {answer.status_code} for {one.method} {url}: {answer.text[:200]!r}")
    return read


def labelled_photo(system: RunningSystem) -> str:
    """Send a photo and wait for its result; its key."""
    files = {"inputFile": ("a.png", colours.draw(random.Random(1))[0])}
    batch = requests.post(f"{system.address}/v1/batches", files=files, timeout=60).json()["batch"]
    key = f"{batch}/00000/a.png"
    wait_for(lambda: key in system.keys(system.settings.out_bucket), RESULT_SECONDS, "the photo has no result")
    wait_for(lambda: not system.waiting(system.settings.req_queue), RESULT_SECONDS, "its message is left")
    return key


@click.command()
def main() -> None:
    """Attack every port of a Shoal of its own without its key."""
    wrong = []
    table = Table("", "ports", "calls at each", "read", "changed")
    with coloured_system() as system:
        tried, found = calls(system, labelled_photo(system)), ports(system)
        others = [port for port in found if port != system.port]
        attacks = (("a page of another origin, Chromium", found, by_browser), ("a local user", others, by_program))
        for name, against, attack in attacks:
            before = state(system)
            read = attack(against, tried)
            after = state(system)
            changed = [f"{name}: {part} changed" for part in before if before[part] != after[part]]
            table.add_row(name, str(len(against)), str(len(tried)), str(len(read)), str(len(changed)))
            wrong += read + changed
    console = Console(highlight=False)
    console.print(table)
    for sentence in wrong:
        console.print(sentence, style="bold red", markup=False)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
