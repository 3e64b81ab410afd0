"""Without tokens the page is reached under names that no page of elsewhere can take."""

import socket

import pytest

from scantrail.api.hosts import is_of_here, names_here

NAMES = names_here("Scantrail.Warehouse.example., docks.example")


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1",
        "127.0.0.1:8600",
        "10.1.2.3:8600",
        "[::1]:8600",
        "[fe80::1]",
        "localhost:8600",
        "LOCALHOST",
        "api",
        "api:8600",
        "page.localhost",
        "warehouse-pc.local:8600",
        "scantrail.internal",
        "nas.home.arpa.",
        "scantrail.warehouse.example:8600",
        "docks.example",
        "DOCKS.example.",
        socket.gethostname(),
    ],
)
def test_addresses_and_names_of_this_network_are_ours(host: str) -> None:
    assert is_of_here(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8600",
        "docks.example.evil.example",
        "127.0.0.1.evil.example",
        "notlocal.evil",
        "evil.example.",
        "[evil.example]:8600",
        "localhost.evil.example:8600",
    ],
)
def test_other_names_may_be_led_here_from_elsewhere(host: str) -> None:
    assert not is_of_here(host, NAMES)
