import asyncio
import gc
import signal
import sys

from scantrail.infra.health import Health
from scantrail.infra.kafka import until_partitions_fit
from scantrail.infra.process import configured, health_server
from scantrail.infra.settings import Settings, SettingsError
from scantrail.tracker.app import build_tracker

#: New objects, less those that are gone, until the garbage collector looks. A run of scans has
#: hundreds of thousands in hand, of which next to none is in a cycle: each look would go through
#: all of them.
OBJECTS_PER_COLLECTION = 1_000_000


def main() -> None:
    """Faust owns the loop and the signals here; the rest is as in the other processes."""
    settings = configured("tracker")
    health = Health("units recovered")
    tracker = build_tracker(settings, health)
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    with health_server(settings, "tracker", health):
        _await_topics(settings, health)
        tracker.work()


def _await_topics(settings: Settings, health: Health) -> None:
    """Return once Kafka answers; end the process with one sentence where its topics have another
    number of partitions, and quietly where it is told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    loop = asyncio.new_event_loop()  # Faust keeps the one that is set
    try:
        loop.run_until_complete(until_partitions_fit(settings, health.beat))
    except SettingsError as error:
        raise SystemExit(f"scantrail tracker: {error}") from error
    finally:
        loop.close()


if __name__ == "__main__":
    main()
