import gc

from scantrail.infra.health import Health
from scantrail.infra.process import configured, health_server
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
        tracker.work()


if __name__ == "__main__":
    main()
