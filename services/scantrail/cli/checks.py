"""What a start is refused for before anything is started: ports, and the readers' file."""

import errno
from pathlib import Path

from scantrail.cli.addresses import port_fields
from scantrail.gateway.readers_file import ReaderSettingsError, load_readers
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
        host = settings.listen_host
        _check_address(
            host, port, what=f"{ENV_PREFIX}LISTEN_HOST={host}", mend=f"set {variable} to"
        )


def check_readers(path: Path, settings: Settings) -> None:
    """Raise StackError unless the readers' file can be used and its addresses are free."""
    try:
        readers = load_readers(path)
    except ReaderSettingsError as error:
        raise StackError(str(error)) from error
    users = {getattr(settings, name): ENV_PREFIX + name.upper() for name in port_fields()}
    for reader in readers:
        if reader.mode == "listen" and reader.address is not None:
            host, port = reader.address
            what = f"the address {host} of reader {reader.id} in {path}"
            if port in users:
                raise StackError(
                    f"port {port} of reader {reader.id} in {path} is {users[port]}:"
                    " give one of the two another"
                )
            _check_address(host, port, what=what, mend=f"give reader {reader.id} in {path}")


def _check_address(host: str, port: int, *, what: str, mend: str) -> None:
    """Raise StackError unless we may listen there; `what` has the host, `mend` is for the port."""
    try:
        if port_is_free(host, port):
            return
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise StackError(
                f"port {port} may not be opened by this user: {mend} another above 1023"
            ) from error
        raise StackError(
            f"{what} is no address of this machine ({error.strerror}): where we listen must be one"
            " of this machine, or 0.0.0.0 for all"
        ) from error
    raise StackError(f"port {port} is taken by another program: {mend} another")
