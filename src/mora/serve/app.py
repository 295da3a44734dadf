"""The addresses of the service."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Response, Security
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from mora.embeddings import Embeddings
from mora.errors import MissingFileError
from mora.explore.explorer_run import ExplorerRun
from mora.explore.words import WordSearch
from mora.serve.answers import FoundPlaces, Health, Meta, Vectors
from mora.serve.gate import Gate
from mora.serve.limits import Limits
from mora.serve.map_data import ARROW_STREAM
from mora.serve.problems import add_handlers, documented
from mora.serve.requests import Embed, InWords, Similar
from mora.serve.service import PointEncoder, Service, open_service

ASKED = (400, 401, 404, 405, 413, 422, 429, 503)  # what a POST may be answered
READ = (400, 401, 405, 413, 429, 503)


def make_app(
    run: Path | str | Embeddings | ExplorerRun,
    encoder: PointEncoder | None = None,
    token: str | None = None,
    limits: Limits | None = None,
    *,
    words: WordSearch | None = None,
    page: Path | None = None,
    hosts: Sequence[str] | None = None,
) -> FastAPI:
    """Make the service of a run, for any ASGI server.

    Args:
        run: folder of a finished run, what was gathered of one, or embeddings.
        encoder: for points outside all places; by default the run's own, in its folder
            ``distilled``, where there is one.
        token: that every request but /health must bear; None for none.
        limits: of a client and of a request.
        words: for search in words; by default what the run's folder holds.
        page: folder of static files shown at /; None for none.
        hosts: names under which the service may be called; None for all.

    Returns:
        The app: /embed, /similar, /search, /map, /meta, /health, /openapi.json.

    Raises:
        PersonalDataError: if the folder holds personal data.
        MissingFileError: if the run has no embeddings, or ``page`` no index.html.
        MoraError: if the encoder has vectors of another width.
    """
    limits = limits or Limits()
    service = open_service(run, limits, encoder, words)
    service.index  # noqa: B018 - made now, not while the first client waits
    # No pages of documentation: theirs load scripts from elsewhere.
    app = FastAPI(title="Mora", docs_url=None, redoc_url=None)
    if token is not None:  # declares it; the gate checks it before reading the body
        scheme = Security(HTTPBearer(auto_error=False))
        app.router.dependencies.append(scheme)
    add_handlers(app)
    _add_questions(app, service)
    _add_facts(app, service)
    if page is not None:
        if not (page / "index.html").is_file():
            raise MissingFileError(page / "index.html", "page")
        app.mount("/", StaticFiles(directory=page, html=True))
    app.add_middleware(Gate, limits=limits, token=token, hosts=hosts)
    return app


def _add_questions(app: FastAPI, service: Service) -> None:
    """Add what is asked with a body. Plain functions: each runs in a thread."""

    @app.post("/embed", responses=documented(*ASKED))
    def embed(request: Embed) -> Vectors:
        """Give vectors of points, of places, or of an area."""
        return service.embed(request)

    @app.post("/similar", responses=documented(*ASKED))
    def similar(request: Similar) -> FoundPlaces:
        """Find places like some and unlike others, or near a vector."""
        return service.similar(request)

    @app.post("/search", responses=documented(*ASKED))
    def search(request: InWords) -> FoundPlaces:
        """Find places in words."""
        return service.search(request)


def _add_facts(app: FastAPI, service: Service) -> None:
    """Add what is asked without a body."""
    stream = {200: {"content": {ARROW_STREAM: {"schema": {"type": "string"}}}}}

    @app.get("/map", responses=stream | documented(*READ), response_class=Response)
    def map_data() -> Response:
        """Give colours, middles and numbers of all places as a stream of Arrow."""
        return Response(service.map_stream, media_type=ARROW_STREAM)

    @app.get("/meta", responses=documented(*READ))
    def meta() -> Meta:
        """Say what the service knows, and its limits."""
        return service.meta()

    @app.get("/health", responses=documented(405))
    async def health() -> Health:
        """Say that the service answers."""
        return Health()
