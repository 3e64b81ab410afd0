"""Under which names a browser may reach what asks for no token.

A page of elsewhere can have its own name lead to this machine (DNS rebinding), and then reads
here as if it were ours. It needs a name that the public DNS leads somewhere: an address, and a name
that only this network knows, can be none.
"""

import ipaddress
import socket
from collections.abc import Collection
from typing import Final

#: Ends of names that the public DNS leads nowhere: RFC 6761, 6762 and 8375; ICANN for `internal`.
_OF_NO_DNS: Final = (".localhost", ".local", ".internal", ".home.arpa", ".test")


def names_here(hosts: str) -> frozenset[str]:
    """The names of `SCANTRAIL_API_HOSTS`, commas between, and this machine's, in small letters."""
    return frozenset(
        name.strip().rstrip(".").lower() for name in (*hosts.split(","), socket.gethostname())
    ) - {""}


def is_of_here(host: str, names: Collection[str]) -> bool:
    """Whether the header `Host` of a request is an address, a name without a dot, one that the
    public DNS leads nowhere, or one of `names`."""
    name = _without_port(host.strip().lower())
    try:
        ipaddress.ip_address(name)
    except ValueError:
        name = name.rstrip(".")
        return "." not in name or name.endswith(_OF_NO_DNS) or name in names
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
