"""What a start is refused for before anything is started: ports, and the readers' file."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scantrail.cli.addresses import port_fields
from scantrail.gateway.readers import ReaderSettingsError, load_readers
from scantrail.infra.child_processes import port_is_free
from scantrail.infra.settings import ENV_PREFIX, Settings


class StackError(Exception):
    """The whole cannot run. The text names what is wrong and the mend."""


def check_ports(settings: Settings) -> None:
    """Raise StackError unless all ports of the settings are different and free."""
    users: dict[int, str] = {}
    for name in port_fields():
        port, variable = getattr(settings, name), ENV_PREFIX + name.upper()
        if port in users:
            raise StackError(f"{users[port]} and {variable} are both {port}: set one to another")
        users[port] = variable
        with _address_errors(settings.listen_host, port, variable):
            free = port_is_free(settings.listen_host, port)
        if not free:
            raise StackError(f"port {port} is taken by another program: set {variable} to another")


def check_readers(path: Path) -> None:
    """Raise StackError unless the readers' file can be used and its addresses are free."""
    try:
        readers = load_readers(path)
    except ReaderSettingsError as error:
        raise StackError(str(error)) from error
    for reader in readers:
        if reader.mode == "listen" and reader.address is not None:
            host, port = reader.address
            with _address_errors(host, port, f"the address of reader {reader.id} in {path}"):
                free = port_is_free(host, port)
            if not free:
                raise StackError(
                    f"port {port} of reader {reader.id} is taken by another program:"
                    f" give it another address in {path}"
                )


@contextmanager
def _address_errors(host: str, port: int, variable: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise StackError(
                f"port {port} may not be opened by this user: set {variable} to another above 1023"
            ) from error
        raise StackError(
            f"{ENV_PREFIX}LISTEN_HOST={host} is no address of this machine"
            f" ({error.strerror}): set it to one, or to 0.0.0.0 for all"
        ) from error
