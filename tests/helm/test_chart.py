"""The chart agrees with the package in version, lanes and configuration; where Helm is installed, it is rendered."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lifecycle import __version__
from lifecycle.config import parse
from lifecycle.queue import LANES
from tests.conftest import ENVIRONMENT, ROOT

CHART = ROOT / "helm" / "gatepost"
HELM_SECONDS_MAX = 60

needs_helm = pytest.mark.skipif(
    shutil.which("helm") is None,
    reason="helm is not on PATH, so the chart is not rendered: https://helm.sh/docs/intro/install",
)

CONFIG = """\
[redis]
url = "rediss://redis.acme.example:6379/0"

[sources.okta]
adapter = "okta"
secrets = ["env:OKTA_HOOK_SECRET"]
"""


@pytest.fixture
def values() -> dict[str, Any]:
    """Give the chart's own values."""
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return found


def _chart() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return found


def test_chart_is_of_this_version() -> None:
    """The chart names the package's version as its application's, so that it pulls the image of this code."""
    assert _chart()["appVersion"] == __version__


def test_chart_has_every_lane(values: dict[str, Any]) -> None:
    """One Deployment a lane: the lanes of the chart are the lanes of the code."""
    assert tuple(values["lanes"]) == LANES


def test_values_fit_their_schema(values: dict[str, Any]) -> None:
    """The values that ship satisfy the schema that Helm checks them with, and a lane that is none does not."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    wrong = values | {"lanes": values["lanes"] | {"joiners": {"replicas": 1}}}

    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_configuration_that_ships_is_one(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``config`` of the values is a configuration that the programs take."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    config = parse(tomllib.loads(values["config"]), tmp_path)

    assert config.redis.url == "redis://redis:6379/0"


@needs_helm
def test_chart_lints() -> None:
    """``helm lint --strict`` finds nothing."""
    done = _helm("lint", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout


@needs_helm
def test_chart_renders_one_deployment_a_program(tmp_path: Path) -> None:
    """Rendered, there is a receiver and a Deployment for each lane, each with its command and the configuration."""
    given = tmp_path / "values.yaml"
    given.write_text(yaml.safe_dump({"config": CONFIG, "secrets": {"OKTA_HOOK_SECRET": "opensesame"}}))

    done = _helm("template", "gatepost", str(CHART), "--values", str(given))

    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    deployments = [document for document in documents if document["kind"] == "Deployment"]
    commands = [_container(deployment)["args"] for deployment in deployments]
    (config_map,) = [document for document in documents if document["kind"] == "ConfigMap"]
    assert sorted(commands, key=str) == sorted(
        [["serve", "--host", "0.0.0.0", "--port", "8080"], *(["work", "--lane", lane] for lane in LANES)],  # noqa: S104 - in a pod
        key=str,
    )
    assert {_container(deployment)["image"] for deployment in deployments} == {f"gatepost:{__version__}"}
    assert config_map["data"]["gatepost.toml"] == CONFIG


@needs_helm
def test_files_of_directories_are_mounted_where_they_are_read(tmp_path: Path) -> None:
    """The volume is in the pods of the lookups lane, read-only, and in no other."""
    given = tmp_path / "values.yaml"
    volume = {"persistentVolumeClaim": {"claimName": "hr"}}
    given.write_text(yaml.safe_dump({"config": CONFIG, "directoriesVolume": volume}))

    done = _helm("template", "gatepost", str(CHART), "--values", str(given))

    pods = {
        document["metadata"]["name"].rpartition("-")[2]: document["spec"]["template"]["spec"]
        for document in yaml.safe_load_all(done.stdout)
        if document and document["kind"] == "Deployment"
    }
    mounted = {name for name, pod in pods.items() if {"name": "directories", **volume} in pod["volumes"]}
    (mount,) = [each for each in pods["lookups"]["containers"][0]["volumeMounts"] if each["name"] == "directories"]
    assert mounted == {"lookups"}
    assert mount == {"name": "directories", "mountPath": "/etc/gatepost-directories", "readOnly": True}


def _helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - found on PATH
        ["helm", *arguments],  # noqa: S607 - the one that is installed
        capture_output=True,
        text=True,
        timeout=HELM_SECONDS_MAX,
        check=False,
    )


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    container: dict[str, Any] = found
    return container
