"""Every metric of every process, declared once. Labels are few, fixed words: never a serial."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from scantrail import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]

_AGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

READS = Counter(
    "scantrail_reads_total",
    "Reads that a reader sent, by what became of them",
    ["reader", "station", "protocol", "outcome"],
)
READER_LOST = Counter(
    "scantrail_reader_lost_reads_total",
    "Reads for which a reader had no more room, as it told",
    ["reader"],
)
REFUSED = Counter(
    "scantrail_requests_refused_total",
    "Requests of readers that were not looked at, by the reason",
    ["reason"],
)
READER_UP = Gauge("scantrail_reader_up", "1 while the reader is connected", ["reader"])
READER_LAST_SEEN = Gauge(
    "scantrail_reader_last_seen_timestamp_seconds", "When anything came from the reader", ["reader"]
)
READER_CLOCK_AHEAD = Gauge(
    "scantrail_reader_clock_ahead_seconds",
    "By how much the reader's clock was ahead (behind: negative) in its newest read",
    ["reader"],
)
SPOOL_SCANS = Gauge("scantrail_spool_scans", "Records on disk that Kafka has not yet taken")
SPOOL_BYTES = Gauge(
    "scantrail_spool_bytes", "Bytes of keys, values and headers of the records on disk"
)
SPOOL_BYTES_MAX = Gauge(
    "scantrail_spool_bytes_max",
    "Bytes beyond which the spool takes no more: SCANTRAIL_SPOOL_BYTES_MAX",
)
SPOOL_REFUSED = Counter(
    "scantrail_spool_refused_total", "Records kept on disk that Kafka will never take"
)
PRODUCE_SECONDS = Histogram(
    "scantrail_produce_seconds", "From a read to its durability", buckets=_AGE_BUCKETS
)
SCANS_PROCESSED = Counter(
    "scantrail_scans_processed_total", "Scans, by process and outcome", ["process", "result"]
)
SCAN_AGE_SECONDS = Histogram(
    "scantrail_scan_age_seconds",
    "From the moment at which a device read the unit to the end of the stage",
    ["stage"],
    buckets=_AGE_BUCKETS,
)
LAST_PROCESSED = Gauge(
    "scantrail_last_processed_timestamp_seconds", "When the process last did its work", ["process"]
)
CONSUMER_LAG = Gauge(
    "scantrail_consumer_lag_records",
    "Records of a partition that the process which reads it has not done yet",
    ["group", "topic", "partition"],
)
CONSUMER_NEXT = Gauge(
    "scantrail_consumer_next_offset",
    "The first record of a partition that the process which reads it has not done yet",
    ["group", "topic", "partition"],
)
RECOVERY_REMAINING = Gauge(
    "scantrail_table_recovery_remaining_records",
    "Records of the changelog that the tracker has yet to restore before it takes scans",
)
KAFKA_BROKERS = Gauge(
    "scantrail_kafka_brokers",
    "Brokers of the cluster that live, as one of them told within 10 s; 0 while none answers",
)
CERTIFICATE_ENDS = Gauge(
    "scantrail_certificate_ends_timestamp_seconds",
    "When the certificate ends that the process shows; 0 where it cannot be read",
    ["shown_to"],
)
MONTHS_MADE = Gauge(
    "scantrail_months_made_timestamp_seconds",
    "When the projector last saw that the months to come have their parts of the history; of one"
    " that never did, when it began",
)
DATABASE_WRITE_SECONDS = Histogram(
    "scantrail_database_write_seconds", "One transaction of the projector", buckets=_AGE_BUCKETS
)
ALERTS_RAISED = Counter("scantrail_alerts_raised_total", "Alerts", ["kind", "severity"])
ALERTS_OPEN = Gauge("scantrail_alerts_open", "Alerts that nobody has taken up yet, in the database")
ALERTS_SWITCHED_OFF = Counter(
    "scantrail_alerts_switched_off_total", "Alerts that were not raised, as was decided", ["kind"]
)
WEBHOOKS_SENT = Counter(
    "scantrail_webhooks_sent_total", "Attempts to tell a webhook, by what came of them", ["outcome"]
)
OUTBOX_OLDEST = Gauge(
    "scantrail_outbox_oldest_seconds",
    "For how long the oldest record waits that was entered at the api and has not left for Kafka; 0"
    " where none waits",
)
RECALLS_UNSWEPT = Gauge(
    "scantrail_recalls_unswept",
    "Recalls of whose newest version it was not yet found out which units were scanned before it",
)
RECALL_SWEEP_SECONDS = Histogram(
    "scantrail_recall_sweep_seconds",
    "From a recall's version, seen by the api, to the end of its sweep",
    buckets=_AGE_BUCKETS,
)
RECALLED_UNITS_HELD = Gauge(
    "scantrail_recalled_units_held",
    "Units on site that are recalled or may be",
)
VERDICTS = Counter(
    "scantrail_verdicts_total", "Answers to conveyors, by what they were", ["verdict", "reason"]
)
VERDICT_SECONDS = Histogram(
    "scantrail_verdict_seconds",
    "From a conveyor's question to its answer",
    ["verdict"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1),
)
RECORDS_UNREADABLE = Gauge(
    "scantrail_records_unreadable",
    "Recalls, holds, links, products, orders and alert policies whose newest record cannot be read:"
    " what they may mean is not released, and no alert is switched off by a policy",
    ["topic"],
)
REJECTED = Counter(
    "scantrail_rejected_total",
    "Records and reads that were set aside, or passed over as they cannot be read, or are judged by"
    " what can be read of them",
    ["topic", "reason"],
)
#: The reason of a record that this release cannot read.
UNREADABLE = "unreadable"
#: The reason of one of which recalls and holds are judged all the same.
READ_IN_PART = "read_in_part"

READY = Gauge("scantrail_ready", "1 while the process does its work")
BUILD_INFO = Gauge("scantrail_build_info", "The running version", ["version"])
BUILD_INFO.labels(__version__).set(1)
