"""What the service answers when it cannot: one table from errors to statuses."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from mora.errors import (
    MissingExtraError,
    MoraError,
    NoGeometryError,
    PersonalDataError,
    UnknownTokenError,
    examples,
)
from mora.memory import MemoryLimitError


class LimitError(MoraError):
    """A request for more than one request may ask."""


class NoWordsError(MoraError):
    """A search in words in a run that knows none."""


# The first that fits, from the most special to the most general.
STATUS: dict[type[Exception], int] = {
    UnknownTokenError: 404,
    NoWordsError: 404,
    LimitError: 413,
    NoGeometryError: 422,
    MissingExtraError: 503,
    MemoryLimitError: 503,
    PersonalDataError: 503,
    MoraError: 422,
}


class Problem(BaseModel):
    """Why a request was not done.

    Attributes:
        error: what was got.
        expected: what was expected.
        do: what to do about it.
    """

    error: str
    expected: str
    do: str


ABOUT = {
    400: "The request is not JSON, or is for another host",
    401: "The token is missing or wrong",
    404: "A place is not known, or there is no such address",
    405: "The address takes another method",
    413: "The request is larger than the service takes",
    422: "The request cannot be understood or followed",
    429: "This client asks too often",
    503: "The service cannot do this now",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the entries of OpenAPI for statuses that are problems."""
    return {s: {"model": Problem, "description": ABOUT[s]} for s in statuses}


def problem_of(error: MoraError) -> Problem:
    """Split a message of Mora: what was got; expected what. What to do."""
    got, _, rest = str(error).partition("; expected ")
    if not rest:
        got, _, rest = str(error).partition(", expected ")
    expected, do = rest, ""
    if end := re.search(r"\. (?=[A-Z])", rest):
        expected, do = rest[: end.start()], rest[end.end() :]
    return Problem(error=got, expected=expected.rstrip("."), do=do)


def answer(
    status: int, problem: Problem, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the response that tells a problem."""
    return JSONResponse(problem.model_dump(), status, dict(headers or {}))


def add_handlers(app: FastAPI) -> None:
    """Let an app answer every error as a :class:`Problem`."""
    app.add_exception_handler(MoraError, _mora_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _own_error)


def status_of(error: Exception) -> int:
    """Give the status that an error stands for; 500 for one that nobody foresaw."""
    return next((s for kind, s in STATUS.items() if isinstance(error, kind)), 500)


async def _mora_error(_: Request, error: MoraError) -> JSONResponse:
    return answer(status_of(error), problem_of(error))


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """Name the first fields that are wrong; a body that is not JSON is 400."""
    found = error.errors()
    if any(part["type"] == "json_invalid" for part in found):
        return answer(
            400,
            Problem(
                error=f"the body is not JSON ({found[0]['ctx']['error']})",
                expected="a JSON object",
                do="See /openapi.json for what each address takes.",
            ),
        )
    return answer(
        422,
        Problem(
            error=f"{len(found)} fields do not fit",
            expected=examples([_expectation(part) for part in found]),
            do="See /openapi.json for what each address takes.",
        ),
    )


def _expectation(part: Mapping[str, Any]) -> str:
    place = ".".join(str(step) for step in part["loc"] if step != "body") or "body"
    return f"{place}: {part['msg']}"


async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
    """Bring the framework's own answers (no such address or method) into our form."""
    expected = {404: "an address of /openapi.json", 405: "a method of /openapi.json"}
    problem = Problem(
        error=str(error.detail),
        expected=expected.get(error.status_code, "a request as in /openapi.json"),
        do="See /openapi.json for what there is.",
    )
    return answer(error.status_code, problem, error.headers)


async def _own_error(_: Request, error: Exception) -> JSONResponse:
    """Say that it is not the client's fault, without telling of the inside."""
    problem = Problem(
        error=f"the service failed ({type(error).__name__})",
        expected="an answer",
        do="Report this with the request; the log has the details.",
    )
    return answer(500, problem)
