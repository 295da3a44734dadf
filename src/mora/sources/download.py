"""One file over https: goes on where it stopped, and does not give up at once."""

import re
import shutil
import time
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from mora.progress import Progress, silent
from mora.sources.fetch_plan import FetchError, check_address

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth another attempt
NOT_SATISFIABLE = 416  # there is nothing after the byte we asked from
MOST_WAIT_SECONDS = 60.0
CHUNK_BYTES = 2**18
HEADERS = {"User-Agent": "mora", "Accept-Encoding": "identity"}  # bytes as they are


class _InterruptedError(OSError):
    """An answer that ended early, or that does not fit what is on disk."""


@dataclass(frozen=True)
class Patience:
    """How long to go on.

    Attributes:
        attempts: in a row that bring nothing new before giving up, >= 1.
        wait_seconds: before the second attempt; doubled each time, at most a minute. A
            server that says how long to wait is obeyed, up to that minute.
        timeout_seconds: without a byte before an attempt counts as failed.
    """

    attempts: int = 5
    wait_seconds: float | int = 1.0
    timeout_seconds: float | int = 60.0


def download(
    address: str,
    part: Path,
    patience: Patience,
    progress: Progress = silent,
) -> None:
    """Download a file, going on from what is there of it.

    Bytes are only added to a part if the server says that the file is still the same
    (by ETag or date); otherwise it is begun again.

    Args:
        address: https.
        part: the unfinished file; whole when this returns.
        patience: how long to go on.
        progress: called with the bytes there and the bytes in all, where known.

    Raises:
        FetchError: if the server refuses, the disk is full, patience runs out, or the
            address, or one it leads to, is not allowed.
    """
    check_address(address)
    failures, best = 0, _size(part)
    while True:
        try:
            return _go_on(address, part, patience.timeout_seconds, progress)
        except (OSError, HTTPException) as error:  # HTTPError, URLError, timeouts too
            answer = _answer(error)
            if isinstance(error, HTTPError) and error.code not in PASSING:
                raise FetchError(answer) from error
            wait = _wait(error, patience.wait_seconds * 2**failures)
            if isinstance(error, HTTPError):
                error.close()
        failures = 1 if _size(part) > best else failures + 1
        best = max(best, _size(part))
        if failures >= patience.attempts:
            raise FetchError(
                f"{answer}, {failures} times in a row; {_size(part)} bytes are kept"
            )
        time.sleep(wait)


def remote_size(address: str, timeout_seconds: float | int = 60.0) -> int | None:
    """Ask a server for the size of a file, without fetching it.

    Args:
        address: https.
        timeout_seconds: without an answer before giving up.

    Returns:
        Bytes; None if the server does not say.
    """
    check_address(address)
    request = Request(address, headers=HEADERS, method="HEAD")
    try:
        with _opener().open(request, timeout=timeout_seconds) as reply:
            return _length(reply.headers)
    except (OSError, HTTPException):
        return None


def _go_on(
    address: str, part: Path, timeout_seconds: float | int, progress: Progress
) -> None:
    """Make one attempt."""
    mark = part.with_name(f"{part.name}.version")
    known = mark.read_text(encoding="utf-8") if mark.exists() else ""
    start = _size(part) if known else 0
    headers = dict(HEADERS)
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known}
    try:
        reply = _opener().open(
            Request(address, headers=headers), timeout=timeout_seconds
        )
    except HTTPError as error:
        if not start or error.code != NOT_SATISFIABLE:
            raise
        whole = error.headers.get("Content-Range") == f"bytes */{start}"
        if not whole:
            part.unlink()
            raise _InterruptedError("the file became shorter at its server") from error
        reply = None
    if reply is not None:
        with reply:
            _write(reply, part, mark, start, known, progress)
    mark.unlink(missing_ok=True)


def _write(
    reply: HTTPResponse,
    part: Path,
    mark: Path,
    start: int,
    known: str,
    progress: Progress,
) -> None:
    """Write what a server sends behind what is there, or from the beginning."""
    version = _version(reply.headers)
    if reply.status == 206 and not _fits(reply.headers, start, version, known):
        part.unlink(missing_ok=True)
        raise _InterruptedError("the server sent another part of the file")
    if reply.status != 206:
        start = 0
        part.unlink(missing_ok=True)  # before the mark: it may be another version
        mark.write_text(version, encoding="utf-8")
    length = _length(reply.headers)
    total = None if length is None else start + length
    _check_disk(part, length or 0)
    done = start
    with part.open("ab") as file:
        while chunk := reply.read(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            progress(done, done if total is None else total)
    if total is not None and done != total:
        raise _InterruptedError(f"the connection ended at byte {done} of {total}")


def _fits(headers: Message, start: int, version: str, known: str) -> bool:
    """Whether a part goes on where we stopped, in the version that we began."""
    span = re.match(r"bytes (\d+)-", headers.get("Content-Range") or "")
    here = span is not None and int(span[1]) == start > 0
    return here and version in ("", known)


def _version(headers: Message) -> str:
    """Give what tells versions of a file apart; "" if the server does not say.

    Source: RFC 9110, 13.1.5: If-Range takes a strong ETag or a date.
    """
    tag = headers.get("ETag") or ""
    return tag if tag.startswith('"') else headers.get("Last-Modified") or ""


def _length(headers: Message) -> int | None:
    length = headers.get("Content-Length") or ""
    return int(length) if length.isdigit() else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_disk(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise FetchError(
            f"needs {needed} bytes more and the disk has {free}; expected room for "
            f"the file. Make room, or choose another folder"
        )


def _answer(error: Exception) -> str:
    """Say what went wrong, for the list of what is missing."""
    if isinstance(error, HTTPError):
        return f"the server answered {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _wait(error: Exception, usual: float | int) -> float:
    """Give the seconds until the next attempt."""
    asked = ""
    if isinstance(error, HTTPError):
        asked = error.headers.get("Retry-After") or ""
    return min(float(asked) if asked.isdigit() else float(usual), MOST_WAIT_SECONDS)


class _CheckedRedirects(HTTPRedirectHandler):
    """Follows a server to another address only if that one is as safe."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        check_address(newurl)
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if schemes == ("https", "http"):
            raise FetchError(f"{req.full_url} leads to {newurl}; expected https.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.method = req.get_method()  # a HEAD stays a HEAD
        return request


def _opener() -> OpenerDirector:
    """Build an opener that knows http and https, and no file: or ftp: addresses."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        _CheckedRedirects(),
    ):
        opener.add_handler(handler)
    return opener
