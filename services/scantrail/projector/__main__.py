from scantrail.infra.process import run_service
from scantrail.projector.app import run_projector


def main() -> None:
    run_service("projector", run_projector, "database", "kafka")


if __name__ == "__main__":
    main()
