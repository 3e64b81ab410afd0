from scantrail.infra.health import Health, HealthServer
from scantrail.infra.process import configured
from scantrail.tracker.app import build_tracker


def main() -> None:
    """Faust owns the loop and the signals here; the rest is as in the other processes."""
    settings = configured("tracker")
    health = Health("units recovered")
    tracker = build_tracker(settings, health)
    with HealthServer(health, settings.listen_host, settings.tracker_health_port):
        tracker.work()


if __name__ == "__main__":
    main()
