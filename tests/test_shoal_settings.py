"""Settings from the environment, and their errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal import aws, plugins, settings
from shoal.aws import clients
from shoal.errors import SettingsError


def test_defaults() -> None:
    chosen = settings.load({})
    assert (chosen.host, chosen.port, chosen.min_instances, chosen.max_instances) == ("127.0.0.1", 8000, 0, 15)
    assert chosen.in_bucket == "shoal-in-bucket"
    assert chosen.out_bucket == "shoal-out-bucket"
    assert chosen.req_queue == "shoal-req-queue"
    assert chosen.resp_queue == "shoal-resp-queue"


def test_values_are_read_and_typed(tmp_path: Path) -> None:
    weights = tmp_path / "w.h5"
    weights.touch()
    chosen = settings.load(
        {"SHOAL_PORT": "9000", "SHOAL_QUIET_SECONDS": "2.5", "SHOAL_MODEL_WEIGHTS": str(weights), "SHOAL_PREFIX": "a-b"}
    )
    assert (chosen.port, chosen.quiet_seconds, chosen.model_weights) == (9000, 2.5, weights)
    assert chosen.in_bucket == "a-b-in-bucket"


def test_the_cache_follows_xdg() -> None:
    assert settings.load({"XDG_CACHE_HOME": "/c"}).cache_dir == Path("/c/shoal")
    assert settings.load({"XDG_CACHE_HOME": "/c", "SHOAL_CACHE_DIR": "/d"}).cache_dir == Path("/d")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOAL_PORT", "web"),
        ("SHOAL_PORT", "0"),
        ("SHOAL_PORT", "70000"),
        ("SHOAL_QUIET_SECONDS", "-1"),
        ("SHOAL_QUIET_SECONDS", "nan"),
        ("SHOAL_MAX_INSTANCES", "0"),
        ("SHOAL_MIN_INSTANCES", "16"),
        ("SHOAL_INSTANCE_TYPE", ","),
        ("SHOAL_PREFIX", "Big"),
        ("SHOAL_PREFIX", "a_b"),
        ("SHOAL_PREFIX", "x" * 60),
        ("SHOAL_LOG_LEVEL", "loud"),
        ("SHOAL_OTLP_ENDPOINT", "localhost:4318"),
        ("SHOAL_ANSWER_CACHE", "-1"),
        ("SHOAL_FETCH_OWN", "127.0.0.1:9000,photos.example.com"),
        ("SHOAL_FETCH_OWN", "http://127.0.0.1:9000"),
        ("SHOAL_ALLOWED_HOSTS", "https://photos.example.com"),
        ("SHOAL_ALLOWED_HOSTS", "photos.example.com:8000"),
        ("SHOAL_TRUSTED_PROXY", "proxy.example.com"),
        ("SHOAL_HOST", "300.1.1.1"),
        ("SHOAL_MODEL_WEIGHTS", "/no/such/file"),
        ("SHOAL_CACHE_DIR", "~nobody-of-that-name/cache"),
        ("XDG_CACHE_HOME", "~nobody-of-that-name"),
    ],
)
def test_an_error_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings.load({name: value})


@given(st.dictionaries(st.sampled_from([one.variable for one in settings.SETTINGS]), st.text()))
def test_any_environment_gives_settings_or_a_clear_error(environment: dict[str, str]) -> None:
    message = "SHOAL_"
    try:
        settings.load(environment)
    except SettingsError as error:
        message = str(error)
    assert "SHOAL_" in message


def test_the_collector_of_traces_may_be_named_in_opentelemetrys_own_way() -> None:
    standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert settings.load({}).otlp_endpoint == ""
    assert settings.load(standard).otlp_endpoint == "http://collector:4318"
    assert settings.load({**standard, "SHOAL_OTLP_ENDPOINT": "http://own:1"}).otlp_endpoint == "http://own:1"
    assert settings.load(standard).for_worker()["SHOAL_OTLP_ENDPOINT"] == "http://collector:4318"


def test_the_env_file_of_an_embedded_cloud_is_found_and_the_environment_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").write_text(
        "# made by a test\nAWS_ENDPOINT_URL='http://127.0.0.1:1'\nAWS_DEFAULT_REGION=us-east-1\n"
    )
    monkeypatch.setenv("SHOAL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    before = dict(os.environ)
    assert settings.load_with_env_file().cloud == {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assert settings.load_with_own_file().cloud == {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assert settings.load().cloud == {}
    assert dict(os.environ) == before
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    assert settings.load_with_env_file().cloud == {}


def test_plugins_are_found_by_name_or_by_module() -> None:
    from controller.policies.per_message import policy

    assert plugins.load("per_message", "controller.policies", "policy") is policy
    assert plugins.load("controller.policies.per_message:policy", "controller.policies", "policy") is policy
    with pytest.raises(SettingsError, match="per_message"):
        plugins.load("nonesuch", "controller.policies", "policy")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        plugins.load("os:nonesuch", "controller.policies", "policy")


def test_a_worker_is_told_what_it_must_know(tmp_path: Path) -> None:
    weights = tmp_path / "w.h5"
    weights.touch()
    told = settings.load({"SHOAL_PREFIX": "p", "SHOAL_MODEL_WEIGHTS": str(weights)}).for_worker()
    assert (told["SHOAL_PREFIX"], told["SHOAL_MODEL"], told["SHOAL_MODEL_WEIGHTS"]) == ("p", "resnet50", str(weights))
    assert "SHOAL_MODEL_WEIGHTS" not in settings.load({}).for_worker()


@pytest.mark.usefixtures("embedded_cloud")
def test_boto3_is_given_the_embedded_cloud_and_the_environment_stays(
    tmp_path: Path, cloud_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in cloud_environment:
        monkeypatch.delenv(name)
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in cloud_environment.items()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    chosen = settings.load_with_env_file({"SHOAL_STATE_DIR": str(tmp_path), "SHOAL_PREFIX": "given"})
    monkeypatch.setattr(clients, "_variables", {})
    aws.prepare(chosen)
    cloud = aws.connect(chosen)
    assert cloud.requests.depth().total == 0  # signed by ourselves
    assert cloud.pool.describe() == []  # called through boto3
    assert not [name for name in os.environ if name.startswith("AWS_ENDPOINT")]


@pytest.mark.parametrize("one", settings.SETTINGS, ids=lambda one: one.name)
def test_every_setting_is_declared_in_full(one: settings.Setting) -> None:
    assert one.group in settings.GROUPS
    assert one.help.endswith(".")
    assert (one.least is not None) == (one.type in ("int", "float"))
    if one.choices:
        assert one.default in one.choices
    if one.type in ("int", "float"):
        assert one.parse(str(one.default)) == one.default


def test_a_choice_is_taken_in_any_case_and_a_secret_is_never_shown() -> None:
    chosen = settings.load({"SHOAL_LOG_LEVEL": "debug", "SHOAL_PRECISION": "INT8"})
    assert (chosen.log_level, chosen.precision) == ("DEBUG", "int8")
    secret = "a very good password"
    shown = settings.load({"SHOAL_OPERATOR_SECRET": secret})
    assert secret not in repr(shown)
    assert secret not in "".join(shown.for_worker().values())


def test_the_source_of_each_value_is_known(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("SHOAL_MAX_INSTANCES=5\n")
    environment = {
        "SHOAL_STATE_DIR": str(tmp_path),
        "SHOAL_MAX_INSTANCES": "9",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1",
        "XDG_CACHE_HOME": "/c",
        "SHOAL_PORT": " ",
    }
    assert settings.sources(environment) == {
        "state_dir": "environment",
        "max_instances": str(tmp_path / "settings.env"),
        "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
        "cache_dir": "XDG_CACHE_HOME",
    }


def test_a_line_of_the_own_file_that_sets_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_text("# the night\n\n  # and the day\nSHOAL_MAX_INSTANCES 5\n")
    with pytest.raises(SettingsError, match=r"'SHOAL_MAX_INSTANCES 5' in .*settings\.env: expected NAME=value"):
        settings.load_with_own_file({"SHOAL_STATE_DIR": str(tmp_path)})


def test_settings_are_imported_quickly() -> None:
    # A worker reads them before anything else; pydantic alone would take longer than its start may gain.
    script = "import sys, shoal.settings; sys.exit(bool({'pydantic', 'boto3', 'csv', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_this_machines_own_address_is_open_without_a_word(host: str) -> None:
    settings.check_exposure(settings.load({"SHOAL_HOST": host}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1", "example.org", "0"])
def test_an_address_that_others_reach_needs_a_word(host: str) -> None:
    with pytest.raises(SettingsError, match=r"SHOAL_OPERATOR_SECRET.*SHOAL_OPEN_TO_ALL=1"):
        settings.check_exposure(settings.load({"SHOAL_HOST": host}))
    settings.check_exposure(settings.load({"SHOAL_HOST": host, "SHOAL_OPEN_TO_ALL": "1"}))
    settings.check_exposure(settings.load({"SHOAL_HOST": host, "SHOAL_OPERATOR_SECRET": "sixteen letters!"}))


@pytest.mark.parametrize(("command", "status"), [(["web_tier"], 2), (["shoal_cli", "up"], 1)])
def test_what_would_be_open_to_all_does_not_start_and_says_what_to_do(
    command: list[str], status: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "SHOAL_HOST": "0.0.0.0", "SHOAL_STATE_DIR": str(tmp_path), "AWS_DEFAULT_REGION": "x"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status
    assert "SHOAL_OPEN_TO_ALL=1" in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_uploads_past_the_web_process_need_the_word_that_private_data_may_stay() -> None:
    with pytest.raises(SettingsError, match="SHOAL_PRIVATE_DATA"):
        settings.load({"SHOAL_DIRECT_UPLOADS": "on"})
    settings.load({"SHOAL_DIRECT_UPLOADS": "on", "SHOAL_PRIVATE_DATA": "keep"})
