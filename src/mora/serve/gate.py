"""What stands before the app: host, rate, token, and size of every request."""

import asyncio
import hmac
import math
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mora.serve.limits import Limits, TokenBuckets
from mora.serve.problems import Problem, answer

OPEN = ("/health",)  # asked by machines that have no token and must not be turned away


class Refused(Exception):
    """A request that goes no further.

    Args:
        status: of the answer.
        problem: its body.
        headers: of the answer.
    """

    def __init__(
        self, status: int, problem: Problem, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(problem.error)
        self.status, self.problem, self.headers = status, problem, headers


class Gate:
    """Refuses a request before any work is done for it.

    Args:
        app: behind the gate.
        limits: of bodies, rate and requests in flight.
        token: that every request must bear; None for none.
        hosts: names under which the service may be called, which keeps other web pages
            from reaching a service on this computer; None for all.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        token: str | None = None,
        hosts: Sequence[str] | None = None,
    ) -> None:
        self._app, self._limits = app, limits
        self._token = None if token is None else token.encode()
        self._hosts = hosts
        self._buckets = TokenBuckets(limits.per_second, limits.burst)
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let it through."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        if self._in_flight >= self._limits.in_flight:
            await _too_busy(self._limits.in_flight)(scope, receive, send)
            return
        self._in_flight += 1
        try:
            self._check(scope)
            body = await self._read(scope, receive)
            await self._app(scope, _replay(body, receive), send)
        except Refused as refused:
            response = answer(refused.status, refused.problem, refused.headers)
            await response(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").rpartition("@")[2]
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if self._hosts is not None and name not in self._hosts:
            raise Refused(400, _wrong_host(name, self._hosts))
        client = scope.get("client") or ("unknown", 0)
        if wait := self._buckets.take(client[0]):
            raise Refused(
                429,
                _too_often(self._limits),
                {"Retry-After": str(math.ceil(wait))},
            )
        if self._token is not None and not self._bears_token(headers):
            raise Refused(401, _NO_TOKEN, {"WWW-Authenticate": "Bearer"})

    def _bears_token(self, headers: Headers) -> bool:
        """Compare in a time that tells nothing of how much of the token is right."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self._token or b""
        )

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """Take in the whole body, if it is not too large and comes in time."""
        most = self._limits.body_bytes
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced[:20]) > most:
            raise Refused(413, _too_large(f"{announced} bytes", most))
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _body(receive, most)
        except TimeoutError as error:
            raise Refused(400, _too_slow(self._limits.body_seconds)) from error


async def _body(receive: Receive, most: int) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > most:
            raise Refused(413, _too_large(f"more than {most} bytes", most))
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hand over a body that was read already, and then what else comes."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


_NO_TOKEN = Problem(
    error="the token is missing or wrong",
    expected="the header `Authorization: Bearer TOKEN`",
    do="Ask whoever started the service for its token.",
)


def _too_busy(most: int) -> ASGIApp:
    problem = Problem(
        error=f"{most} requests are being worked on",
        expected="fewer at a time",
        do="Try again in a second.",
    )
    return answer(503, problem, {"Retry-After": "1"})


def _too_often(limits: Limits) -> Problem:
    return Problem(
        error="this client asks too often",
        expected=f"{limits.per_second:g} requests a second, {limits.burst} at once",
        do="Wait as long as the header Retry-After says; ask for more in a request.",
    )


def _too_large(got: str, most: int) -> Problem:
    return Problem(
        error=f"the body has {got}",
        expected=f"at most {most}",
        do="Split the request.",
    )


def _too_slow(seconds: float) -> Problem:
    return Problem(
        error=f"the body did not arrive within {seconds:g} s",
        expected="the whole body",
        do="Send it again, or less of it.",
    )


def _wrong_host(name: str, hosts: Sequence[str]) -> Problem:
    return Problem(
        error=f"the request is for host {name!r}",
        expected=f"one of {', '.join(hosts)}",
        do="Call the service by the name that it was started with.",
    )
