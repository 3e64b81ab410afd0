"""Every metric of every process, declared once. Labels are few, fixed words: never a serial."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from scantrail import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]

_AGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

READS = Counter(
    "scantrail_reads_total",
    "Reads that a reader sent, by what became of them",
    ["reader", "protocol", "outcome"],
)
REFUSED = Counter(
    "scantrail_requests_refused_total",
    "Requests of readers that were not looked at, by the reason",
    ["reason"],
)
READER_UP = Gauge("scantrail_reader_up", "1 while the reader is connected", ["reader"])
READER_HEARD = Gauge(
    "scantrail_reader_heard_timestamp_seconds", "When anything came from the reader", ["reader"]
)
READER_CLOCK_AHEAD = Gauge(
    "scantrail_reader_clock_ahead_seconds",
    "By how much the reader's clock was ahead (behind: negative) in its newest read",
    ["reader"],
)
SPOOL_SCANS = Gauge("scantrail_spool_scans", "Records on disk that Kafka has not yet taken")
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
    "From the gateway's record_time to the stage",
    ["stage"],
    buckets=_AGE_BUCKETS,
)
LAST_PROCESSED = Gauge(
    "scantrail_last_processed_timestamp_seconds", "When the process last did its work", ["process"]
)
DATABASE_WRITE_SECONDS = Histogram(
    "scantrail_database_write_seconds", "One transaction of the projector", buckets=_AGE_BUCKETS
)
ALERTS_RAISED = Counter("scantrail_alerts_raised_total", "Alerts", ["kind", "severity"])
ALERTS_SWITCHED_OFF = Counter(
    "scantrail_alerts_switched_off_total", "Alerts that were not raised, as was decided", ["kind"]
)
WEBHOOKS_SENT = Counter(
    "scantrail_webhooks_sent_total", "Attempts to tell a webhook, by what came of them", ["outcome"]
)
VERDICTS = Counter(
    "scantrail_verdicts_total", "Answers to conveyors, by what they were", ["verdict", "reason"]
)
VERDICT_SECONDS = Histogram(
    "scantrail_verdict_seconds",
    "From a conveyor's question to its answer",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1),
)
RECORDS_UNREADABLE = Gauge(
    "scantrail_records_unreadable",
    "Recalls, holds and alert policies whose newest record cannot be read: what a recall or a hold"
    " may mean is not released, and no alert is switched off by a policy",
    ["topic"],
)
REJECTED = Counter("scantrail_rejected_total", "Rejected records and reads", ["topic", "reason"])
READY = Gauge("scantrail_ready", "1 while the process does its work")
BUILD_INFO = Gauge("scantrail_build_info", "The running version", ["version"])
BUILD_INFO.labels(__version__).set(1)
