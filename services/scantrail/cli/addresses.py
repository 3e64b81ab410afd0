"""Where what is started on this machine listens, and where it is reached."""

from dataclasses import fields, replace
from pathlib import Path

from scantrail.infra.child_processes import LOOPBACK, free_ports
from scantrail.infra.settings import Settings


def private_settings(folder: Path, base: Settings) -> Settings:
    """The base with free ports and `folder` for its data, to run beside others."""
    names = port_fields()
    ports = dict(zip(names, free_ports(len(names), base.listen_host), strict=True))
    host = reachable_host(base.listen_host)
    return replace(
        base,
        data_dir=str(folder),
        gateway_url=f"http://{_in_url(host)}:{ports['gateway_port']}",
        **ports,  # type: ignore[arg-type]  # their names are known only now
    )


def port_fields() -> list[str]:
    """The names of the settings that are a port to listen on."""
    return [f.name for f in fields(Settings) if f.name.endswith("_port")]


def reachable_host(listen_host: str) -> str:
    """An address at which what listens on `listen_host` is reached from this machine."""
    return {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(listen_host, listen_host)


def page_address(settings: Settings) -> str:
    """The address of the page, for a browser on this machine."""
    scheme = "https" if settings.tls_certificate or settings.tls_ca else "http"
    return f"{scheme}://{_in_url(reachable_host(settings.listen_host))}:{settings.api_port}/"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def with_own_paths(settings: Settings, folder: Path, readers: Path) -> Settings:
    """Absolute folders, a readers file, and the gateway's address where only its port was told."""
    default = Settings()
    gateway_url = settings.gateway_url
    if gateway_url == default.gateway_url:
        host = reachable_host(settings.listen_host)
        gateway_url = f"http://{_in_url(host)}:{settings.gateway_port}"
    return replace(
        settings,
        data_dir=str(folder),
        readers_file=settings.readers_file or str(readers),
        gateway_url=gateway_url,
    )


def api_headers(settings: Settings) -> dict[str, str]:
    """What commands send with each request to the api: their token, where they have one."""
    token = settings.secret("api_token")
    return {"Authorization": f"Bearer {token}"} if token else {}
