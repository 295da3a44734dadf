"""What a report page is made of: plain text and finished figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        caption: what it shows, units included.
        header: names of the columns.
        rows: a cell for each column; the first names the row.
        best: whether each cell but the first is the best of its column; empty where
            there is nothing to compare.
        words: whether cells are words rather than numbers, and may break.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Sequence[Sequence[bool]] = ()
    words: bool = False


@dataclass(frozen=True)
class Illustration:
    """A figure as text.

    Attributes:
        image: from ``as_svg`` or, for maps of many places, from ``as_png_data_uri``.
        alt: what the figure shows, for those who cannot see it.
        caption: what to look at; may be empty.
        whole: takes the full width of the page.
    """

    image: str
    alt: str
    caption: str = ""
    whole: bool = False


@dataclass(frozen=True)
class TaskSection:
    """How well one label is read, and where not.

    Attributes:
        name: of the label, with its unit.
        remarks: sentences to begin with.
        moran: Moran's I of the residuals; None if not computed.
        coverage: share of the labels inside their prediction intervals, and the share
            that was asked for, both in 0..1; None if not computed.
        figures: maps of labels, predictions and residuals, and the scatter.
        tables: errors by group.
    """

    name: str
    remarks: Sequence[str] = ()
    moran: float | None = None
    coverage: tuple[float, float] | None = None
    figures: Sequence[Illustration] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class RepresentativenessSection:
    """Whether those who were observed live where people live.

    Attributes:
        remark: what the tables say, or why there are none.
        tables: shares by group.
        figures: such as a map of homes per inhabitant.
    """

    remark: str
    tables: Sequence[Table] = ()
    figures: Sequence[Illustration] = ()


@dataclass(frozen=True)
class DataSource:
    """One input, so that it can be found again.

    Attributes:
        input: what it is used for.
        file: its name; folders are never shown.
        checksum: of its content.
        year: that it describes.
        notes: such as its licence, or that it is simulated.
    """

    input: str
    file: str
    checksum: str
    year: str = ""
    notes: str = ""


@dataclass(frozen=True)
class ModelCard:
    """What the vectors are for, and what not.

    Source: Mitchell et al. 2019, Model cards for model reporting.

    Attributes:
        intended_use: a sentence or two.
        trained_on: movement and modalities, with places and period.
        dim: length of a vector.
        seeds: of the training runs.
        limits: where the vectors should not be relied on.
        privacy: thresholds below which nothing is kept, and what is not stored.
    """

    intended_use: str
    trained_on: str
    dim: int
    seeds: Sequence[int] = ()
    limits: Sequence[str] = ()
    privacy: Sequence[str] = ()


@dataclass(frozen=True)
class ReportPage:
    """All that a report shows, from top to bottom.

    Attributes:
        title: heading of the page.
        warnings: what could mislead a reader, shown first.
        notes: what the data are, such as "flows are simulated".
        summary: the findings in sentences.
        tables: scores.
        figures: of all tasks together: coverage, ablations, curves.
        tasks: one section each.
        representativeness: None to say nothing about it.
        model_card: None for a report without a model.
        data: the inputs.
        configuration: YAML.
        versions: package -> version.
    """

    title: str
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    summary: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Illustration] = ()
    tasks: Sequence[TaskSection] = ()
    representativeness: RepresentativenessSection | None = None
    model_card: ModelCard | None = None
    data: Sequence[DataSource] = ()
    configuration: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
