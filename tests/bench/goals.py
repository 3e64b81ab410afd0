"""What measures are to reach, in their units. docs/benchmarks.md names the same."""

from bench.measure import Measure

AT_MOST = {
    "tracker_restart_s": 5,
    "tracker_takeover_s": 15,
    "identify_fast_us": 3,
    "identify_epc_us": 60,
    "gateway_ack_p99_ms": 30,
    "scan_to_alert_p50_ms": 25,
    "scan_to_alert_p99_ms": 150,
    "lookup_p99_ms": 10,
    "lookup_growth": 1.5,
    "trail_p99_ms": 20,
    "recall_preview_range_s": 2,
    "recall_preview_list_s": 5,
    "receive_10000_s": 2,
    "page_screen_p95_ms": 50,
    "page_first_paint_ms": 300,
    "page_live_p99_ms": 1_000,
    "verdict_p99_ms": 10,
    "burst_verdict_p99_ms": 10,
    "failover_tracker_s": 15,
    "failover_broker_s": 10,
}
AT_LEAST = {"projector_scans_per_s": 20_000}


def missed(measure: Measure) -> str | None:
    """Which goal it misses, in words; None where it has none, or reaches it."""
    most, least = AT_MOST.get(measure.name), AT_LEAST.get(measure.name)
    if most is not None and measure.value > most:
        return f"{measure.name} {measure.value:,} {measure.unit}: {most:,} at most"
    if least is not None and measure.value < least:
        return f"{measure.name} {measure.value:,} {measure.unit}: {least:,} at least"
    return None
