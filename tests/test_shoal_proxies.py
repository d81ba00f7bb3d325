"""Which calls may go through the environment's proxy, and what `shoal doctor` says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal import proxies
from tests.web_fixtures import jpeg, running_site


@pytest.mark.parametrize(
    ("url", "direct"),
    [
        ("http://127.0.0.1:4566", True),
        ("http://127.8.0.1/", True),
        ("http://[::1]:8000", True),
        ("http://localhost:8000", True),
        ("http://bucket.localhost:4566", True),
        ("http://0.0.0.0:8000", True),
        ("http://169.254.169.254/latest", True),
        ("http://[fd00:ec2::254]/latest", True),
        ("https://s3.eu-central-1.amazonaws.com", False),
        ("https://localhost.example.com", False),
        ("http://10.0.0.7:8000", False),
        ("", False),
    ],
)
def test_this_machine_and_metadata_need_no_proxy(url: str, direct: bool) -> None:
    assert proxies.is_direct(url) == direct


def test_what_is_set_is_said_in_any_case_and_without_passwords() -> None:
    environment = {
        "http_proxy": "http://me:secret@proxy.example:3128",
        "ALL_PROXY": "socks5://proxy.example:1080",
        "HTTPS_PROXY": "",
        "No_Proxy": "example.org",
        "PATH": "/bin",
    }
    assert proxies.set_variables(environment) == {
        "ALL_PROXY": "socks5://proxy.example:1080",
        "No_Proxy": "example.org",
        "http_proxy": "http://proxy.example:3128",
    }


def test_programs_that_are_started_get_the_hosts_without_a_proxy() -> None:
    assert proxies.with_direct_hosts({"PATH": "/bin"}) == {}
    made = proxies.with_direct_hosts({"https_proxy": "http://proxy.example:3128", "NO_PROXY": "example.org"})
    assert made["NO_PROXY"] == made["no_proxy"]
    assert {"example.org", "127.0.0.1", "localhost", "169.254.169.254"} <= set(made["NO_PROXY"].split(","))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_command_reaches_its_own_machine_without_the_proxy(tmp_path: Path, variable: str) -> None:
    (tmp_path / "test_0.jpg").write_bytes(jpeg())
    names = {name.lower(): name for name in os.environ}
    environment = {name: os.environ[name] for low, name in names.items() if not low.endswith("_proxy")}
    environment |= {variable: "http://127.0.0.1:1", "SHOAL_STATE_DIR": str(tmp_path / "state")}
    with running_site() as site:
        command = [sys.executable, "-m", "shoal_cli", "classify", "--url", site.url, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.count("hair_spray")) == (0, 1)
