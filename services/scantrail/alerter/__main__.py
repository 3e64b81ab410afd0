from scantrail.alerter.app import MIRRORED, run_alerter
from scantrail.infra.process import run_service


def main() -> None:
    run_service("alerter", run_alerter, *MIRRORED, "kafka")


if __name__ == "__main__":
    main()
