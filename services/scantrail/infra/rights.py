"""Who may do what in Kafka and in PostgreSQL: one principal a process, each with what it needs.

What stands here is made so by `apply_access` (Kafka) and `apply_roles` (PostgreSQL): what is not
here is taken away. Tests hold docs/security.md and the running services against it.
"""

import tomllib
from dataclasses import dataclass
from typing import Final

from scantrail.contracts.topics import Topic, schemas_dir

#: The brokers' own: they may all, and with it rights and passwords are changed. No process has it.
#: Two names for one: while the password of the one is exchanged, the other's holds.
BROKERS: Final = ("kafka-a", "kafka-b")
#: Whoever makes topics and tables, and commands.
ADMIN: Final = "admin"

#: Who connects to Kafka besides the brokers.
PRINCIPALS: Final = ("gateway", "tracker", "alerter", "projector", "api", ADMIN)

#: What each reads; who writes a topic is said by its `schemas/<topic>/topic.toml`.
READS: Final[dict[str, frozenset[Topic]]] = {
    "gateway": frozenset(
        {
            Topic.STATIONS,
            Topic.PRODUCTS,
            Topic.ORDERS,
            Topic.IDENTIFIERS,
            Topic.RECALLS,
            Topic.HOLDS,
        }
    ),
    "tracker": frozenset({Topic.SCANS, Topic.UNITS}),
    "alerter": frozenset(
        {
            Topic.MOVEMENTS,
            Topic.FINDINGS,
            Topic.READS_REJECTED,
            Topic.RECALLS,
            Topic.HOLDS,
            Topic.PRODUCTS,
            Topic.ALERT_POLICIES,
        }
    ),
    "projector": frozenset(
        {
            Topic.MOVEMENTS,
            Topic.ALERTS,
            Topic.SCANS_REJECTED,
            Topic.READS_REJECTED,
            Topic.READER_STATUS,
            Topic.RECALL_WATCH,
        }
    ),
    "api": frozenset({Topic.MOVEMENTS}),
    ADMIN: frozenset(Topic),
}

#: What commands write: `scantrail refold` sends a unit's new base.
COMMANDS_WRITE: Final = frozenset({Topic.SCANS})

#: Processes with a consumer group of their name.
GROUPS: Final = ("tracker", "alerter", "projector")


def writers() -> dict[str, frozenset[Topic]]:
    """What each principal writes."""
    found: dict[str, set[Topic]] = {name: set() for name in PRINCIPALS}
    found[ADMIN] |= COMMANDS_WRITE
    for path in schemas_dir().glob("*/topic.toml"):
        for name in tomllib.loads(path.read_text())["told"]["written_by"]:
            found[name].add(Topic(path.parent.name))
    return {name: frozenset(topics) for name, topics in found.items()}


# ------------------------------------------------------------------------------------ PostgreSQL

#: Who connects to PostgreSQL besides the owner of the tables, as scantrail_<name>.
ROLES: Final = ("projector", "api")


def role_of(name: str) -> str:
    """The name of a process's role in PostgreSQL."""
    return f"scantrail_{name}"


@dataclass(frozen=True, slots=True)
class Granted:
    """What a role may do with a table, or with these columns of it alone."""

    table: str
    privileges: tuple[str, ...]
    columns: tuple[str, ...] = ()


_READ = ("SELECT",)
_ADD = ("SELECT", "INSERT")
_CHANGE = ("SELECT", "INSERT", "UPDATE")
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")


def _on(privileges: tuple[str, ...], *names: str) -> tuple[Granted, ...]:
    return tuple(Granted(name, privileges) for name in names)


#: The rows that come of topics, and what they lead to. No party, no order, no token, no secret.
_PROJECTOR: Final = (
    *_on(
        _CHANGE,
        "unit",
        "movement",
        "alert",
        "rejected",
        "reader_status",
        "recall_position",
        "recall_unit",
        "consumer_offset",
    ),
    *_on(_ADD, "alert_event"),
    *_on(("INSERT",), "webhook_delivery", "register_change"),
    Granted("webhook", _READ, ("id", "kinds", "min_severity")),
    Granted("webhook", ("UPDATE",), ("id",)),  # to lock a row, of which nothing is changed
    Granted("regulation", _READ, ("id",)),
    Granted("product", _READ, ("id", "fold_case")),
)

#: What people are told and enter. What is only added to (history, register, audit) it cannot
#: change, and the rows that come of topics only where a person decides about one.
_API: Final = (
    *_on(
        _READ,
        "unit",
        "movement",
        "movement_removed",
        "reader_status",
        "recall_position",
        "consumer_offset",
        "installation_secret",
    ),
    *_on(
        _ADD,
        "alert_event",
        "audit",
        "register",
        "scan_void",
        "minted_serial",
        "product_policy",
        "recall_version",
        "replacement",
        "return_line",
        "return_decision",
        "warranty_event",
        "warranty_claim_event",
    ),
    *_on(("SELECT", "UPDATE"), "alert"),
    *_on(("SELECT", "UPDATE", "DELETE"), "rejected"),
    *_on(
        _CHANGE,
        "station",
        "product",
        "recall",
        "recall_sweep",
        "recall_cleared",
        "identifier",
        "hold",
        "alert_policy",
        "party",
        "sales_order",
        "site",
        "warranty_term",
        "warranty_claim",
        "return_authorisation",
        "api_token",
        "regulation",
        "register_unit",
        "advance_notice",
        "count_session",
    ),
    *_on(
        _ALL,
        "webhook",
        "webhook_delivery",
        "outbox",
        "recall_serial",
        "recall_reach",
        "recall_unit",
        "recall_parent",
        "sales_order_line",
        "idempotency",
        "epcis_capture",
        "epcis_capture_event",
        "register_change",
        "desk_finding",
        "advance_notice_unit",
        "advance_notice_quantity",
        "count_session_unit",
    ),
)

GRANTS: Final[dict[str, tuple[Granted, ...]]] = {"projector": _PROJECTOR, "api": _API}

#: What a role may call, with the rights of the tables' owner.
FUNCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "projector": ("movement_months_ahead", "movement_analyze"),
    "api": (),
}

#: Tables with names and addresses of people: no role but the api's sees any of it.
PERSONAL: Final = ("party", "sales_order")
