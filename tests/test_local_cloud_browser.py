"""A web page of another origin, in a real browser, against every port of the embedded cloud."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.local_cloud_fixtures import make_image, running_cloud

# Each way in which a page can call another origin; what it could read is collected.
ATTACK = """
async ([ec2, s3, metadata, image]) => {
  const read = [];
  const run = `Action=RunInstances&Version=2016-11-15&ImageId=${image}&MinCount=1&MaxCount=1&InstanceType=t3.micro`;
  const form = {method: "POST", body: run, headers: {"Content-Type": "application/x-www-form-urlencoded"}};
  const calls = [
    [ec2, form], [ec2 + "/?" + run, {}], [ec2 + "/moto-api/reset", {method: "POST"}],
    [s3 + "/secrets?list-type=2", {}], [s3 + "/secrets/photo", {}],
    [s3 + "/secrets/photo", {method: "PUT", body: "other"}], [s3 + "/secrets/photo", {method: "DELETE"}],
    [s3 + "/secrets", {method: "POST", body: new FormData()}], [s3 + "/_ministack/reset", {method: "POST"}],
    [s3 + "/?Action=ListQueues", {}], [metadata + "/latest/meta-data/", {}],
  ];
  for (const [url, options] of calls)
    for (const mode of ["cors", "no-cors"])
      try {
        const answer = await fetch(url, {...options, mode, credentials: "include"});
        const text = await answer.text();
        if (answer.type !== "opaque" || text) read.push([url, mode, answer.type, text]);
      } catch (error) { /* the browser let nothing through */ }
  return read;
}
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The address of a page that is not ours."""
    (tmp_path / "index.html").write_text("<title>elsewhere</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        server.shutdown()


def test_a_page_of_another_origin_reads_and_changes_nothing(tmp_path: Path, browser: Browser, elsewhere: str) -> None:
    image = make_image(tmp_path / "image")
    with running_cloud(tmp_path / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        s3 = cloud.client("s3")
        s3.create_bucket(Bucket="secrets")
        s3.put_object(Bucket="secrets", Key="photo", Body=b"a photo")
        seen = cloud.launch("#!/bin/sh\necho at $AWS_EC2_METADATA_SERVICE_ENDPOINT.\n")
        metadata = cloud.wait_for_console(seen, ".\n").partition("at ")[2].partition(f"/{seen}")[0]
        page = browser.new_page()
        try:
            page.goto(elsewhere)
            told = [
                cloud.env["AWS_ENDPOINT_URL"],
                cloud.env["AWS_ENDPOINT_URL_S3"],
                f"{metadata}/{seen}",
                cloud.image(),
            ]
            assert page.evaluate(ATTACK, told) == []
        finally:
            page.close()
        instances = [
            one["InstanceId"] for all_ in cloud.ec2.describe_instances()["Reservations"] for one in all_["Instances"]
        ]
        assert instances == [seen]
        assert [one["Key"] for one in s3.list_objects_v2(Bucket="secrets")["Contents"]] == ["photo"]
        assert s3.get_object(Bucket="secrets", Key="photo")["Body"].read() == b"a photo"
