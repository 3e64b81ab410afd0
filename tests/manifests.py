"""What Kustomize makes of deploy/kubernetes, and what the schemas of Kubernetes say of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from scantrail.infra.settings import Settings

TOP = Path(__file__).parents[1]
FOLDER = TOP / "deploy" / "kubernetes"
DATA = Path(__file__).parent / "data"

Manifest = dict[str, Any]

OVERLAYS = sorted(path.parent.name for path in FOLDER.glob("overlays/*/kustomization.yaml"))
SHAPES = ["base", *OVERLAYS, "hub+commands"]

PROCESSES = sorted(
    f.name.removesuffix("_health_port") for f in fields(Settings) if f.name.endswith("_health_port")
)
WORKLOADS = ("Deployment", "StatefulSet", "CronJob")

#: Where a pod finds PostgreSQL's address and its authority, and out of which Secrets.
DATABASE = "/etc/scantrail/database"
DATABASE_SECRETS = {"database-setup", "database-projector", "database-api"}

#: Seconds, minutes, … as Go and Prometheus write them; bytes and cores as Kubernetes does.
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


@cache
def rendered(overlay: str) -> list[Manifest]:
    """The objects of `base`, `cluster` or `overlays/<overlay>`, as they would be applied; those of
    `hub+commands` with that component too."""
    return render_with(overlay) if "+" in overlay else render(_folder(overlay))


def render_with(overlay: str, **more: Any) -> list[Manifest]:
    """The objects of a copy of what `rendered` takes, with `more` in it, as a site writes it."""
    name, *components = overlay.split("+")
    paths = [_folder(name), *(FOLDER / "components" / each for each in components)]
    with TemporaryDirectory() as folder:
        first, *others = [os.path.relpath(path, folder) for path in paths]
        written = {"resources": [first], "components": others, **more}
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(written))
        return render(Path(folder))


def _folder(name: str) -> Path:
    return FOLDER / name if name in ("base", "cluster") else FOLDER / "overlays" / name


def render(folder: Path) -> list[Manifest]:
    """The objects of a folder with a kustomization.yaml."""
    done = subprocess.run(
        [*_command(), str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # it warns of what is deprecated
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def _command() -> list[str]:
    beside_python = Path(sys.executable).parent  # `make kustomize` builds it there
    for path in (None, str(beside_python)):
        if (kustomize := shutil.which("kustomize", path=path)) is not None:
            return [kustomize, "build"]
    kubectl = shutil.which("kubectl")
    assert kubectl is not None, "neither kustomize nor kubectl is here: make kustomize"
    return [kubectl, "kustomize"]


@cache
def _validator(kind: str) -> Draft202012Validator:
    for source in ("kubernetes", "strimzi", "prometheus-operator"):
        schemas = json.loads((DATA / source / "schemas.json").read_text())
        if kind in schemas["$defs"]:
            return Draft202012Validator(
                {**schemas, "$ref": "#/$defs/" + kind.replace("/", "~1")},
            )
    raise AssertionError(f"tests/data has no schema of {kind}")


def faults(manifest: Manifest) -> list[str]:
    """What the schema of its kind has against a manifest. A field that it does not know is one."""
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    return [
        f"{manifest['kind']} {manifest['metadata']['name']}{error.json_path[1:]}: {error.message}"
        for error in _validator(kind).iter_errors(manifest)
    ]


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """By name, those of these kinds."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def pod_of(workload: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = template_of(workload)["spec"]
    return spec


def template_of(workload: Manifest) -> dict[str, Any]:
    spec = workload["spec"]
    template: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec)["template"]
    return template


def beside(shape: str) -> list[str]:
    """What there is beside the processes."""
    return ["setup", "commands", "months"] if shape.endswith("+commands") else ["setup"]


def container_of(workload: Manifest) -> dict[str, Any]:
    [container] = pod_of(workload)["containers"]
    assert isinstance(container, dict)
    return container


def settings_of(manifests: list[Manifest]) -> dict[str, str]:
    [found] = [
        one["data"] for name, one in of_kind(manifests, "ConfigMap").items() if "settings" in name
    ]
    assert isinstance(found, dict)
    return found


def environ_of(manifests: list[Manifest], workload: Manifest) -> dict[str, str]:
    """Every variable; of those that the cluster tells, one that it may tell."""
    container = container_of(workload)
    shared = settings_of(manifests) if "envFrom" in container else {}
    return shared | {each["name"]: each.get("value", "0") for each in container["env"]}


def workloads(shape: str) -> dict[str, Manifest]:
    """By the name of the process; others are `setup`, `commands` and `months`."""
    found = of_kind(rendered(shape), *WORKLOADS)
    return {one["metadata"]["labels"]["app.kubernetes.io/name"]: one for one in found.values()}
