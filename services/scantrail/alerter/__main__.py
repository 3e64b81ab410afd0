from scantrail.alerter.app import run_alerter
from scantrail.infra.process import run_service


def main() -> None:
    run_service("alerter", run_alerter, "recalls", "holds", "kafka")


if __name__ == "__main__":
    main()
