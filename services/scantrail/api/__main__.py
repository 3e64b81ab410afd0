from scantrail.api.app import run_api
from scantrail.infra.process import run_service


def main() -> None:
    run_service("api", run_api, "database", "kafka")


if __name__ == "__main__":
    main()
