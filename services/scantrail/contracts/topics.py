"""The topics, each with one writing process. `schemas/<topic>/topic.toml` says how each is kept."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Topic(StrEnum):
    SCANS = "scans"  # gateway: key unit
    MOVEMENTS = "movements"  # tracker: key unit
    SCANS_REJECTED = "scans.rejected"  # tracker: key and value as they came
    READS_REJECTED = "reads.rejected"  # gateway: key reader
    READER_STATUS = "reader-status"  # gateway, compacted: key reader
    ALERTS = "alerts"  # alerter: key alert id
    RECALLS = "recalls"  # api, compacted: key recall id
    STATIONS = "stations"  # api, compacted: key station id
    PRODUCTS = "products"  # api, compacted: key product id
    ORDERS = "orders"  # api, compacted: key order reference
    IDENTIFIERS = "identifiers"  # api, compacted: key a unit key that is not the unit's own
    HOLDS = "holds"  # api, compacted: key unit
    ALERT_POLICIES = "alert-policies"  # api, compacted: key kind of alerts
    FINDINGS = "findings"  # api: key finding id
    UNITS = "units"  # tracker's changelog, compacted, private: key unit


def topic_name(prefix: str, topic: Topic) -> str:
    """`scantrail.scans.v1` for prefix `scantrail` and topic `scans`."""
    return f"{prefix}.{topic}.v1"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """`partitions` 0 means: as many as the installation's scans have."""

    topic: Topic
    partitions: int
    config: dict[str, str]


#: Of `units` where trackers are fenced: a state that carries an older time is refused. Far enough
#: below the tracker's session (tracker/faust_batches.py), so that whoever wrote it had not yet lost
#: its partitions, even if its clock is some seconds ahead of the broker's.
FENCE = {"message.timestamp.type": "CreateTime", "message.timestamp.before.max.ms": "6000"}


def schemas_dir() -> Path:
    """The contracts' folder: beside the package when installed, else at the checkout's top."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parent.parent / "schemas"


def topic_specs(folder: Path | None = None) -> list[TopicSpec]:
    """Read each topic's `topic.toml`. KeyError or ValueError mean a broken installation."""
    specs = []
    for path in sorted((folder or schemas_dir()).glob("*/topic.toml")):
        fields = tomllib.loads(path.read_text())
        config = {name: str(value) for name, value in fields.get("config", {}).items()}
        specs.append(TopicSpec(Topic(path.parent.name), fields.get("partitions", 0), config))
    return specs
