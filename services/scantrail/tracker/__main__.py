from scantrail.infra.health import Health
from scantrail.infra.process import configured, health_server
from scantrail.tracker.app import build_tracker


def main() -> None:
    """Faust owns the loop and the signals here; the rest is as in the other processes."""
    settings = configured("tracker")
    health = Health("units recovered")
    tracker = build_tracker(settings, health)
    with health_server(settings, "tracker", health):
        tracker.work()


if __name__ == "__main__":
    main()
