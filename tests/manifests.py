"""What Kustomize makes of deploy/kubernetes, and what the schemas of Kubernetes say of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from jsonschema import Draft202012Validator

TOP = Path(__file__).parents[1]
FOLDER = TOP / "deploy" / "kubernetes"
DATA = Path(__file__).parent / "data"

Manifest = dict[str, Any]

#: Seconds, minutes, … as Go and Prometheus write them; bytes and cores as Kubernetes does.
QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


@cache
def rendered(overlay: str) -> list[Manifest]:
    """The objects of `base`, `cluster` or `overlays/<overlay>`, as they would be applied; those of
    `hub+commands` with that component too."""
    name, *components = overlay.split("+")
    if components:
        return render_with(name, components=[FOLDER / "components" / each for each in components])
    return render(_folder(name))


def render_with(overlay: str, *, components: Sequence[Path] = (), **more: Any) -> list[Manifest]:
    """The objects of a copy of an overlay with components and `more`, as a site would write it."""
    with TemporaryDirectory() as folder:
        above = [Path(os.path.relpath(path, folder)) for path in (_folder(overlay), *components)]
        written = {
            "resources": [str(above[0])],
            "components": [str(path) for path in above[1:]],
            **more,
        }
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
