from scantrail.gateway.app import run_gateway
from scantrail.infra.process import run_service


def main() -> None:
    run_service("gateway", run_gateway, "identifiers", "products", "stations")


if __name__ == "__main__":
    main()
