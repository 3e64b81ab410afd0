"""The query database's tables. Alembic's migrations make them; a test compares the two.

Keys lead with the unit's key, so that a distributed PostgreSQL can shard by it. Names and
addresses of people stand in `party` and nowhere else.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from scantrail.domain.register import Stay

metadata = MetaData()

#: In place of a name, an address, or what had one in it, of somebody who was erased.
ERASED = "(erased)"

_TIME = DateTime(timezone=True)

#: Where each unit is and who has it: the newest version that the tracker told. Without a phase,
#: and all that goes with it, where every scan of the unit was voided.
unit = Table(
    "unit",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("product", Text),
    Column("serial", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("phase", Text),
    Column("site", Text),
    Column("station", Text),
    Column("read_point", Text),
    Column("business_location", Text),
    Column("business_step", Text),
    Column("disposition", Text),
    Column("possessing_party", Text),
    Column("order_ref", Text),
    Column("since", _TIME),
    Column("event_id", Text),
    Column("seen_at", _TIME),
    Column("held", Boolean, nullable=False, server_default=false()),
    Column("parent", Text),  # the unit inside which it is
    Column("joined", Text),  # the key into which this one was joined: the unit is found there
    # what a scan told of it last
    Column("lot", Text),
    Column("produced_on", Date),
    Index("unit_by_serial", "serial"),
    Index("unit_by_product", "product", "serial"),
    # Most units have no parent and no order, and hardly one is joined: an index of the others alone
    # is not written for each scan.
    Index("unit_by_parent", "parent", postgresql_where=text("parent IS NOT NULL")),
    Index("unit_by_joined", "joined", postgresql_where=text("joined IS NOT NULL")),
    Index("unit_by_order", "order_ref", postgresql_where=text("order_ref IS NOT NULL")),
    # Room on each page for the unit's next row: where no index changes, none is written.
    postgresql_with={"fillfactor": 80},
)

#: History: one row for each accepted scan; of repeats with one key the highest version wins. It has
#: parts by the month of record_time (infra.months), which the log fixes for a scan for ever.
movement = Table(
    "movement",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("record_time", _TIME, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("event_time", _TIME, nullable=False),
    Column("clock_skew_s", Double),
    Column("reader", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("station", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("read_point", Text, nullable=False),
    Column("business_step", Text, nullable=False),
    Column("business_location", Text),
    Column("disposition", Text),
    Column("possessing_party", Text),
    Column("order_ref", Text),
    Column("read", Text),
    Column("corrects", Text),  # the event id of the scan that this one voids
    Column("parent", Text),  # the unit into which the scan puts this one
    # the parent's scan of which this one tells: its unit and its event id
    Column("derived_from", Text),
    Column("derived_event_id", Text),
    Column("same_as", Text),  # the other key of the unit that the scan tells of
    Column("forwarded_from", Text),  # the key under which the scan came
    Column("rma", Text),  # the return authorisation by which the unit comes back
    Column("lot", Text),
    Column("produced_on", Date),
    Column("keyed", Boolean, nullable=False, server_default=false()),  # typed by a person
    Index("movement_by_parent", "parent", postgresql_where=text("parent IS NOT NULL")),
    Index("movement_by_rma", "rma", postgresql_where=text("rma IS NOT NULL")),
    # "what came here since": rows are written in this order, so that the index is all but free
    Index("movement_by_record_time", "record_time", postgresql_using="brin"),
    postgresql_partition_by="RANGE (record_time)",
)

#: How many scans of a unit were removed of its history.
movement_removed = Table(
    "movement_removed",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("scans", BigInteger, nullable=False),
)

#: Scans that a person voided: why, by whom (a reference), and what was told in their place.
scan_void = Table(
    "scan_void",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("unit", Text, nullable=False),
    Column("voided_by", Text, nullable=False),  # the event id of the scan that does it
    Column("replaced_by", Text),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("replaced_unit", Text),  # of which unit that is, where it was told
)

#: EPCIS documents that were captured, and what became of them as a whole: for 30 days.
epcis_capture = Table(
    "epcis_capture",
    metadata,
    Column("id", Text, primary_key=True),  # begins with the time: later ones come behind
    Column("created_at", _TIME, nullable=False),
    Column("finished_at", _TIME, nullable=False),
    Column("who", Text, nullable=False),
    Column("error_behaviour", Text, nullable=False),  # rollback, proceed
    Column("success", Boolean, nullable=False),
    Column("events", Integer, nullable=False),
)

#: What became of each event of a captured document.
epcis_capture_event = Table(
    "epcis_capture_event",
    metadata,
    Column("capture", Text, ForeignKey("epcis_capture.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # its place, from 0
    Column("status", Text, nullable=False),  # captured, already, rejected, rolled_back
    Column("event_id", Text),  # as the event told it
    Column("scans", Integer, nullable=False),
    Column("reason", Text),
    Column("field", Text),
    Column("detail", Text),
    Column("left_out", ARRAY(Text), nullable=False),  # fields that no scan keeps
    # what made no scan, as releases before wrote it: nothing any more, and gone with the next
    Column("document", Text),
)

alert = Table(
    "alert",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),  # domain.alert_life.AlertStanding
    Column("unit", Text),
    Column("event_id", Text, nullable=False),
    Column("station", Text),
    Column("site", Text),
    Column("event_time", _TIME, nullable=False),
    Column("text", Text, nullable=False),
    Column("recall", Text),
    Column("document", Text),  # a kind and a reference, where it is of no one unit
    Column("withdrawn", Boolean, nullable=False, server_default=false()),
    Column("repeats", Integer, nullable=False, server_default=text("0")),
    Column("events", Integer, nullable=False, server_default=text("0")),  # the last one's number
    Index("alert_by_unit", "unit"),
    Index("alert_by_status", "status", "id"),
    Index("alert_by_time", "status", "event_time", "id"),
    Index("alert_by_recall", "recall", "id"),
)

#: What happened to each alert. Rows are only added.
alert_event = Table(
    "alert_event",
    metadata,
    Column("alert", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("step", Text, nullable=False),  # domain.alert_life.AlertStep
    Column("status", Text, nullable=False),  # how the alert stands from then on
    Column("at", _TIME, nullable=False),
    # of what the alerter told: raised or withdrawn, and by which scan; a replay is known by it
    Column("cause", Text),
    Column("who", Text),  # of what a person did: a reference, no name
    Column("note", Text),
    Index("alert_event_by_cause", "alert", "cause", unique=True),
)

#: Who is told of alerts.
webhook = Table(
    "webhook",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("kinds", JSONB, nullable=False),
    Column("min_severity", Text, nullable=False),
)

#: News of an alert for one webhook: written with what it tells of, kept when delivered or parked.
webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("webhook", Text, ForeignKey("webhook.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),  # the idempotency key
    Column("alert", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),  # waiting, delivered, parked
    Column("attempts", Integer, nullable=False),
    Column("next_at", _TIME, nullable=False),
    Column("reason", Text),  # why the last attempt failed
    Column("made_at", _TIME, nullable=False),
    Column("done_at", _TIME),
    Index("webhook_delivery_by_next", "next_at", postgresql_where=text("state = 'waiting'")),
)

#: Reads and scans that were set aside, with the reason; a read can be replayed from here.
rejected = Table(
    "rejected",
    metadata,
    Column("id", Text, primary_key=True),  # event_id#digest of a read, or topic/partition/offset
    Column("source", Text, nullable=False),  # read, scan
    Column("reader", Text),
    Column("station", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("record_time", _TIME, nullable=False),
    Column("replayed_at", _TIME),
    # of a scan on which the tracker failed: its unit, held, and that one's version
    Column("unit", Text),
    Column("unit_version", BigInteger),
    Index("rejected_by_reader", "reader", "reason"),
    Index("rejected_by_reason", "reason", "id"),
    Index("rejected_by_unit", "unit"),
)

#: Each reader as its gateway last told of it.
reader_status = Table(
    "reader_status",
    metadata,
    Column("id", Text, primary_key=True),
    Column("station", Text, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("started_at", _TIME, nullable=False),  # its gateway: the counts are since then
    Column("told_at", _TIME, nullable=False),
    Column("is_up", Boolean),
    Column("since", _TIME),
    Column("heard_at", _TIME),
    Column("clock_ahead_s", Double),
    Column("counts", JSONB, nullable=False),
    Column("context", JSONB, nullable=False),
)

consumer_offset = Table(
    "consumer_offset",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)

#: Records that leave with the transaction that made them; the relay publishes and deletes them.
outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("value", LargeBinary),  # none where the entity is gone
    Column("entered_at", _TIME, nullable=False, server_default=func.now()),
)

station = Table(
    "station",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
)

product = Table(
    "product",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
    Column("fold_case", Boolean, nullable=False, server_default=false()),
    Index("product_by_fold_case", "id", postgresql_where=text("fold_case")),
)

#: What was decided about each product's units, by the product's version of then. Rows are only
#: added: of those from one moment on the newest counts.
product_policy = Table(
    "product_policy",
    metadata,
    Column("product", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("valid_from", _TIME),  # none: since ever
    Column("entered_at", _TIME, nullable=False),
    Column("document", JSONB, nullable=False),
)

#: Serials that were given here, each once: the number counts up for each product.
minted_serial = Table(
    "minted_serial",
    metadata,
    Column("product", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("serial", Text, nullable=False),
    Column("minted_at", _TIME, nullable=False),
)

recall = Table(
    "recall",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
    Column("summary", JSONB),  # as it is told: of a long list the beginning and the number
)

#: The serials that a recall lists, as they were entered, which its document has in all their forms.
recall_serial = Table(
    "recall_serial",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("serial", Text, primary_key=True),
    Column("forms", ARRAY(Text)),  # as unit keys have it, where that is another
    Index(
        "recall_serial_forms",
        "forms",
        postgresql_using="gin",
        postgresql_where=text("forms IS NOT NULL"),
    ),
)

#: What each version of a recall said, lists of serials by their number and digest.
recall_version = Table(
    "recall_version",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("status", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("who", Text, nullable=False),
    Column("note", Text),
    Column("document", JSONB, nullable=False),
)

#: Whose holders were told of a recall, and which units were mended: by the unit's own key.
recall_reach = Table(
    "recall_reach",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("notified_at", _TIME),
    Column("notified_note", Text),
    Column("remedied_at", _TIME),
    Column("remedied_note", Text),
)

#: From where on each partition of movements is judged with a recall's version: the alerter tells.
recall_position = Table(
    "recall_position",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("partitions", Integer, nullable=False),  # how many there are
    Column("position", BigInteger, nullable=False),
)

#: The version of each recall for which the desk has looked at every unit.
recall_sweep = Table(
    "recall_sweep",
    metadata,
    Column("recall", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("swept_at", _TIME, nullable=False),
)

#: Units that recalls mean, may mean, or of which it was decided that they do not; and the units
#: inside which those are. The projector marks them, the desk looks at them.
recall_unit = Table(
    "recall_unit",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("is_stale", Boolean, nullable=False, server_default=false()),
    # the movement that has to be written before the unit is looked at
    Column("partition", Integer),
    Column("position", BigInteger),
    # the unit's version when it was looked at; none where no other version needs to be looked at
    Column("version", BigInteger),
    Column("recalls", ARRAY(Text), nullable=False, server_default=text("'{}'")),  # all of them
    Column(
        "held_by", ARRAY(Text), nullable=False, server_default=text("'{}'")
    ),  # that hold it here
    # that leave it open, where it went out
    Column("left_open", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Index("recall_unit_stale", "unit", postgresql_where=text("is_stale")),
    Index("recall_unit_left_open", "unit", postgresql_where=text("left_open <> '{}'")),
)

#: The units inside which those are that recalls hold, at any depth: they are held, too.
recall_parent = Table(
    "recall_parent",
    metadata,
    Column("parent", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Index("recall_parent_by_unit", "unit"),
)

#: What people decided of units of which a recall left it open: that it does not mean them.
recall_cleared = Table(
    "recall_cleared",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("recall", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("note", Text, nullable=False),
    Column("at", _TIME, nullable=False),
)

#: Of units with several ids: each key that is not the unit's own, and the one that is. Of a link
#: that was taken back `unit` is the key itself.
identifier = Table(
    "identifier",
    metadata,
    Column("id", Text, primary_key=True),
    Column("unit", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("linked_at", _TIME, nullable=False),
    Column("joined_by", Text),  # the event id of the scan that told the tracker of the link
    Index("identifier_by_unit", "unit"),
)

#: What holds each unit: a row of its own for each, without reasons once nothing does.
hold = Table(
    "hold",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
)

#: How urgent alerts of a kind are here: a row for each kind that somebody decided about.
alert_policy = Table(
    "alert_policy",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
)

#: People and companies: the only place of names and addresses, gone where one was erased.
party = Table(
    "party",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("roles", JSONB, nullable=False, server_default=text("'[]'")),
    Column("licences", JSONB, nullable=False, server_default=text("'[]'")),
    Column("erased_at", _TIME),
)

#: What a name begins with, whatever its case and the database's collation.
Index(
    "party_by_name",
    func.lower(party.c.name).label("lower_name"),
    postgresql_ops={"lower_name": "text_pattern_ops"},
)

sales_order = Table(
    "sales_order",
    metadata,
    Column("ref", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("purchaser", Text, ForeignKey("party.id"), nullable=False),
    # ids of parties: where they are told, they are there
    Column("ship_to", Text),
    Column("end_customer", Text),
    Column("carrier", Text),
    Column("supplier", Text),
    Column("owning_party", Text),
    Column("loan_due", Date),
    Column("deliver_by", Date),
    Column("delivered_at", _TIME),
    Index("sales_order_by_loan", "loan_due", postgresql_where=text("loan_due IS NOT NULL")),
    Column("ordered_at", _TIME, nullable=False, server_default=func.now()),
    Index("sales_order_by_purchaser", "purchaser"),
    Index("sales_order_by_time", "ordered_at", "ref"),
)

sales_order_line = Table(
    "sales_order_line",
    metadata,
    Column("ref", Text, ForeignKey("sales_order.ref", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("product", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Index("sales_order_line_by_product", "product"),
)

#: Where days begin and end.
site = Table(
    "site",
    metadata,
    Column("id", Text, primary_key=True),
    Column("time_zone", Text, nullable=False),  # of the IANA data base
    Column("version", BigInteger, nullable=False, server_default=text("1")),
)

#: What is promised with units of a product that are sold from a day on; 0 months: nothing.
warranty_term = Table(
    "warranty_term",
    metadata,
    Column("product", Text, primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("months", Integer, nullable=False),
    Column("start", Text, nullable=False),
    # of all terms of a product together: how often it was changed
    Column("version", BigInteger, nullable=False, server_default=text("1")),
)

#: Registrations, and decisions that a unit's warranty is void or is not. Rows are only added.
warranty_event = Table(
    "warranty_event",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("note", Text),
    Column("order_ref", Text),  # whose line proves the purchase, where no scan does
    Column("registrant", Text, ForeignKey("party.id")),
    Column("recorded_at", _TIME, nullable=False),
)

#: A claim is for a unit, or where none is known for a product on an order. Its state is that of its
#: newest event.
warranty_claim = Table(
    "warranty_claim",
    metadata,
    Column("id", Text, primary_key=True),
    Column("unit", Text),
    Column("product", Text),
    Column("serial", Text),
    Column("order_ref", Text),
    Column("line", Integer),
    Column("purchaser", Text),
    Column("fault", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("filed_at", _TIME, nullable=False),
    Column("remarks", JSONB, nullable=False),  # as they were told when it was filed
    Index("warranty_claim_by_unit", "unit"),
    Index("warranty_claim_by_order", "order_ref"),
    Index("warranty_claim_by_purchaser", "purchaser"),
    Index("warranty_claim_by_product", "product", "filed_at"),
    Index("warranty_claim_by_time", "filed_at", "id"),
    # few wait, and many were closed
    Index("warranty_claim_by_state", "state", "filed_at", "id"),
)

#: What became of each claim: rows are only added.
warranty_claim_event = Table(
    "warranty_claim_event",
    metadata,
    Column("claim", Text, ForeignKey("warranty_claim.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("note", Text),
    Column("replacement", Text),
)

#: A unit and the one that took its place with its purchaser.
replacement = Table(
    "replacement",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("at", _TIME, primary_key=True),
    Column("replaced_by", Text, nullable=False),
    Column("claim", Text),
    Column("rma", Text),
    Index("replacement_by_new", "replaced_by"),
)

return_authorisation = Table(
    "return_authorisation",
    metadata,
    Column("rma", Text, primary_key=True),
    Column("order_ref", Text, ForeignKey("sales_order.ref"), nullable=False),
    Column("purchaser", Text, ForeignKey("party.id"), nullable=False),
    Column("authorised_at", _TIME, nullable=False),
    Column("note", Text),
    Index("return_authorisation_by_order", "order_ref"),
    Index("return_authorisation_by_purchaser", "purchaser"),
    Index("return_authorisation_by_time", "authorised_at", "rma"),
)

#: A unit, with the shipping of which it is the return, or a quantity of a product.
return_line = Table(
    "return_line",
    metadata,
    Column("rma", Text, ForeignKey("return_authorisation.rma"), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("unit", Text),
    Column("product", Text),
    Column("quantity", Integer, nullable=False),
    Column("shipped_event_id", Text),
    Column("shipped_at", _TIME),
    Index("return_line_by_unit", "unit"),
)

#: What was decided of each line: rows are only added.
return_decision = Table(
    "return_decision",
    metadata,
    Column("rma", Text, primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("at", _TIME, nullable=False),
    Column("note", Text),
    Column("replacement", Text),
    ForeignKeyConstraint(["rma", "line"], ["return_line.rma", "return_line.line"]),
)

#: Who may ask the api, and what: a token of a person, or of a machine, of which the digest is kept.
api_token = Table(
    "api_token",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_sha256", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),  # read, operate, quality, admin
    Column("version", BigInteger, nullable=False),
    Column("sites", JSONB, nullable=False),  # to which it is bound; none: all
    Column("made_at", _TIME, nullable=False),
    Column("revoked_at", _TIME),
)

#: What was answered to requests with an Idempotency-Key, for as long as they may come again.
idempotency = Table(
    "idempotency",
    metadata,
    Column("who", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_sha256", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("outbox_id", BigInteger),  # the last record that the change let leave
    Column("at", _TIME, nullable=False),
    Index("idempotency_by_time", "at"),
)

#: Each change of an entity, in a chain of hashes (domain.audit). Rows are only ever added:
#: a trigger refuses everything else.
audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", _TIME, nullable=False),
    Column("who", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("old_version", BigInteger),
    Column("new_version", BigInteger),
    Column("request_sha256", Text, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("audit_by_entity", "entity", "reference", "number"),
    Index("audit_by_kind", "entity", "number"),
    Index("audit_by_who", "who", "number"),
)

#: What this installation alone knows. `audit`: a digest of a request is made with it, so that who
#: reads the audit cannot try names until one fits.
installation_secret = Table(
    "installation_secret",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)

#: Products whose units stand in the register.
regulation = Table(
    "regulation",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", JSONB, nullable=False),
)

#: Acquisition and disposition of regulated units. Rows are only added: a trigger refuses the rest.
#: Of a line, which is the number of its first entry, the last entry counts.
register = Table(
    "register",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=True),
    Column("line", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("entered_at", _TIME, nullable=False, server_default=func.now()),
    Column("entered_by", Text),
    Column("reason", Text),
    Column("unit", Text, nullable=False),
    Column("product", Text, nullable=False),
    Column("maker", Text, nullable=False),
    Column("importer", Text),
    Column("model", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("calibre", Text, nullable=False),
    Column("serial", Text, nullable=False),
    Column("opened_event", Text, nullable=False),
    Column("opened_at", _TIME, nullable=False),
    Column("acquired_at", _TIME),
    Column("acquired_from", Text),
    Column("acquired_order", Text),
    Column("disposed_event", Text),
    Column("disposed_at", _TIME),
    Column("disposed_to", Text),
    Column("disposed_order", Text),
    Column("disposal", Text),
    Index("register_by_unit", "unit"),
    Index("register_by_line", "line", "number"),
    Index("register_by_acquired_from", "acquired_from"),
    Index("register_by_disposed_to", "disposed_to"),
)

#: Up to which version each regulated unit was entered, and what else it hangs on.
register_unit = Table(
    "register_unit",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("is_stale", Boolean, nullable=False),
    Column("orders", ARRAY(Text), nullable=False),
    Column("look_again_on", Date),  # days pass: a licence ends, an entry is due
    Index("register_unit_by_orders", "orders", postgresql_using="gin"),
    Index("register_unit_stale", "unit", postgresql_where=text("is_stale")),
    Index(
        "register_unit_by_day", "look_again_on", postgresql_where=text("look_again_on IS NOT NULL")
    ),
)

#: Regulated units that changed, until the desk has looked at them: see infra/regulated.py.
register_change = Table(
    "register_change",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True),
)

#: What the desk's watch states now, so that it can be withdrawn.
desk_finding = Table(
    "desk_finding",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("document", JSONB, nullable=False),
    Index("desk_finding_by_scope", "scope"),
)


def stay_of(row: Any) -> Stay:
    """What a row of the register says of a stay."""
    return Stay(**{name: getattr(row, name) for name in Stay.__dataclass_fields__})


#: What suppliers announced. Units are apart: by unit, as what is received is.
advance_notice = Table(
    "advance_notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("supplier", Text, nullable=False),  # a party's id
    Column("site", Text, nullable=False),
    Column("stations", ARRAY(Text), nullable=False),  # where it is unloaded; none: not told
    Column("since", _TIME, nullable=False),  # receiving scans count from then on
    Column("entered_at", _TIME, nullable=False),
    Column("closed_at", _TIME),
    Index("advance_notice_by_time", "entered_at", "id"),
    Index("advance_notice_open", "entered_at", "id", postgresql_where=text("closed_at IS NULL")),
)

advance_notice_unit = Table(
    "advance_notice_unit",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("notice", Text, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("parent", Text),  # the carton or pallet in which it is to come
    Column("kit", Text),
    Index("advance_notice_unit_by_notice", "notice", "unit"),
)

#: Of products without serials: how many were announced, and how many a person counted.
advance_notice_quantity = Table(
    "advance_notice_quantity",
    metadata,
    Column("notice", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("announced", Integer, nullable=False),
    Column("received", Integer, nullable=False, server_default="0"),
)

#: Counts of one location, each from when to when.
count_session = Table(
    "count_session",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("site", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("opened_at", _TIME, nullable=False),
    Column("closed_at", _TIME),
)

#: What stood there when a count began, and once it is closed how each unit stands.
count_session_unit = Table(
    "count_session_unit",
    metadata,
    Column("unit", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("expected", Boolean, nullable=False),
    Column("status", Text),  # none while it is open
    Column("event_id", Text),
    Column("counted_at", _TIME),
    Index("count_session_unit_by_session", "session", "unit"),
)
