"""The service as a process of its own."""

import ipaddress
from pathlib import Path

import uvicorn

from mora.errors import MoraError
from mora.serve.app import make_app
from mora.serve.limits import Limits

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
GRACE_SECONDS = 10  # that requests in flight are given when the service is stopped
# Longer than clients keep a connection: one that the service closes while the next
# request is on its way loses that request.
IDLE_SECONDS = 75


def serve(
    run: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    public: bool = False,
    token: str | None = None,
    limits: Limits | None = None,
    page: Path | None = None,
) -> None:
    """Serve a run until the process is told to stop (SIGINT or SIGTERM).

    Args:
        run: folder of a finished run.
        host: address to listen at.
        port: 1 to 65535; 0 for any that is free.
        public: says that other computers may reach ``host``.
        token: that every request must bear; None for none.
        limits: of a client and of a request.
        page: folder of static files shown at /.

    Raises:
        MoraError: if ``host`` can be reached from elsewhere and ``public`` is not set.
        PersonalDataError: if the folder holds personal data.
    """
    require_loopback(host, public)
    hosts = None if public else LOOPBACK
    app = make_app(run, token=token, limits=limits, page=page, hosts=hosts)
    uvicorn.run(
        app,
        host=host,
        port=port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
        server_header=False,
        log_level="warning",
    )


def require_loopback(host: str, public: bool) -> None:
    """Refuse an address that other computers may reach, unless that is wanted.

    Raises:
        MoraError: naming the address.
    """
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not (local or public):
        raise MoraError(
            f"host {host!r} can be reached from other computers; expected 127.0.0.1, "
            f"localhost or ::1. Say that it is to be public, and set a token."
        )
