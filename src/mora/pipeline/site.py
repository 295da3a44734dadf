"""The explorer of a run: its page with its data, to open from disk or to serve."""

from importlib import resources
from pathlib import Path

from mora.errors import MissingFileError, NoGeometryError
from mora.explore.explorer_data import write_explorer
from mora.pipeline.opening import explored


def page_folder() -> Path:
    """Give the folder of the built page, which a wheel carries.

    Raises:
        MissingFileError: if this is a checkout whose page was not built.
    """
    page = Path(str(resources.files("mora") / "explore" / "page"))
    if not (page / "index.html").is_file():
        raise MissingFileError(
            page / "index.html", "the explorer's page (build it with `make web`)"
        )
    return page


def write_site(
    run: Path,
    to: Path,
    second: Path | None = None,
    *,
    min_users: int = 5,
    published: bool = False,
) -> Path:
    """Write the explorer of a run, which opens from disk without a server.

    Args:
        run: folder of a finished run.
        to: folder of the page.
        second: another run, to be seen beside.
        min_users: least distinct users of a flow that is drawn.
        published: draw flows that count no users; see
            :func:`mora.graph.shown_edges.shown_edges`.

    Returns:
        The page.
    """
    other = None if second is None else explored(second)
    return write_explorer(
        explored(run),
        to,
        other,
        page=page_folder(),
        min_users=min_users,
        published=published,
    )


def served_site(run: Path, *, published: bool = False) -> Path | None:
    """Write the explorer that the service shows at /; it asks the service.

    Args:
        run: folder of a finished run; the page is kept in its folder ``explorer``.
        published: see :func:`write_site`.

    Returns:
        The folder; None where there is no page, or the places have no outlines.
    """
    site = run / "explorer"
    try:
        page = page_folder()
    except MissingFileError:
        return None
    try:
        write_explorer(
            explored(run),
            site,
            page=page,
            service=".",
            offline=False,
            published=published,
        )
    except NoGeometryError:
        return None
    return site
