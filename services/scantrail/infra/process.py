"""What every process does around its own work: settings, logs, health, signals."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from scantrail.infra import metrics
from scantrail.infra.child_processes import port_is_free
from scantrail.infra.collector import calm_collector
from scantrail.infra.health import Health, HealthServer
from scantrail.infra.logs import configure_logging, logger
from scantrail.infra.settings import Settings, SettingsError, load_settings

log = logger(__name__)

#: Seconds from SIGTERM to the end, whatever hangs.
STOP_S_MAX = 15.0

#: Open files and connections that a process asks the system for; some have 1,024 at first.
FILES_MAX = 65_536


def configured(service: str) -> Settings:
    """This process's settings, its logs set up; ends it with one sentence where they are wrong."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(f"scantrail {service}: {error}") from error
    configure_logging(service, settings.log_level)
    return settings


def run_service(
    service: str, work: Callable[[Settings, Health], Awaitable[None]], *lacking: str
) -> None:
    """Run `work` until SIGTERM or SIGINT cancels it; it then stops taking in, flushes, and ends.

    A second signal, or a stop that takes longer than STOP_S_MAX, ends the process at once.
    """
    settings = configured(service)
    _take_connections()
    calm_collector()
    health = Health(*lacking)
    with health_server(settings, service, health):
        try:
            asyncio.run(_until_told(work(settings, health), health))
        except (SettingsError, ExceptionGroup) as error:
            if (refused := _refusal(error)) is None:
                raise
            raise SystemExit(f"scantrail {service}: {refused}") from error


def _refusal(error: BaseException) -> BaseException | None:
    """The SettingsError among what tasks of a group raised."""
    while isinstance(error, BaseExceptionGroup):
        found = error.subgroup(SettingsError)
        if found is None:
            return None
        error = found.exceptions[0]
    return error


def _take_connections() -> None:
    """Let the process have as many connections as the machine allows it."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if most == resource.RLIM_INFINITY else min(most, FILES_MAX)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def health_server(settings: Settings, service: str, health: Health) -> HealthServer:
    """The health server of `service`; ends the process with one sentence where it, or the
    service's own port, cannot be listened on."""
    for name in (f"{service}_port", f"{service}_health_port"):
        if (port := getattr(settings, name, None)) is None:
            continue
        variable, host = f"SCANTRAIL_{name.upper()}", settings.listen_host
        try:
            if not port_is_free(host, port):
                raise SystemExit(
                    f"scantrail {service}: port {port} is taken: set {variable} to another"
                )
        except OSError as error:
            raise SystemExit(
                f"scantrail {service}: cannot listen on SCANTRAIL_LISTEN_HOST={host}, port {port}"
                f" of {variable} ({error.strerror}): set one of them to another"
            ) from error
    _tell_certificates(settings)
    return HealthServer(health, settings.listen_host, getattr(settings, f"{service}_health_port"))


def _tell_certificates(settings: Settings) -> None:
    """They are read anew whenever metrics are asked for: they may have been exchanged."""
    shown = {"kafka": settings.kafka_certificate, "clients": settings.tls_certificate}
    if not any(shown.values()):
        return
    from scantrail.infra.certificates import ends_at  # 13 MB, which others do without

    for to, path in shown.items():
        if path:
            metrics.CERTIFICATE_ENDS.labels(to).set_function(partial(ends_at, path))


async def _until_told(work: Awaitable[None], health: Health) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if task.cancelling():
            os._exit(1)
        log.info("stopping")
        health.lacks("stopping")
        task.cancel()
        loop.call_later(STOP_S_MAX, os._exit, 1)  # whatever thread still works

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    beat = asyncio.create_task(_beat(health))
    log.info("started")
    with contextlib.suppress(asyncio.CancelledError):
        await task
    beat.cancel()
    log.info("stopped")


async def _beat(health: Health) -> None:
    while True:
        health.beat()
        await asyncio.sleep(1.0)
