"""What place vectors are scored on, how, and beside what."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mora.config.inputs import AreaInput, TableInput
from mora.config.section import Section

Domain = Literal["social", "economic"]


class LabelsConfig(Section):
    """Labels from one table: a task each.

    Attributes:
        declared: name of a declaration that comes with Mora, such as ``paper.census``
            or ``us.counties``; it sets what is not set here.
        table: columns ``id`` or ``lon``, ``lat``; ``weight`` averages several rows of
            a token; and the labels, named under ``values``.
        values: our name of each label -> their column.
        unit: what a label belongs to: a ``token`` (points are averaged to tokens), a
            ``parent`` cell that holds several tokens, a ``zone`` of the run by its
            code, or an ``area`` with an outline of its own.
        areas: outlines that the rows' ids name, for ``area``.
        parent_resolution: H3 level of the units, for ``parent``.
        pool: how tokens are averaged to a coarser unit.
        scale: chooses the readout's settings as the paper does; by default ``grid`` for
            tokens and parents, ``county`` for zones and areas.
        transform: label -> ``log1p``.
        given_away: label -> the input that gives it away; printed apart, in no mean.
        domains: label -> ``social`` or ``economic``, for means of their own.
        descriptions: label -> what it is, with its unit.
        source: where the labels come from.
        licence: under which terms.
        year: what time they are of.
        public: whether anyone can get them.
    """

    declared: str | None = None
    table: TableInput
    values: dict[str, str]
    unit: Literal["token", "parent", "zone", "area"] = "token"
    areas: AreaInput | None = None
    parent_resolution: int | None = Field(None, ge=0, le=15)
    pool: Literal["mean", "population", "area"] = "mean"
    scale: Literal["grid", "county", "city"] | None = None
    transform: dict[str, Literal["log1p"]] = Field(default_factory=dict)
    given_away: dict[str, str] = Field(default_factory=dict)
    domains: dict[str, Domain] = Field(default_factory=dict)
    descriptions: dict[str, str] = Field(default_factory=dict)
    source: str = ""
    licence: str = ""
    year: str = ""
    public: bool = True

    @model_validator(mode="after")
    def _complete(self) -> "LabelsConfig":
        if (self.unit == "area") != (self.areas is not None):
            raise ValueError("`areas` and unit `area` belong together; got one of them")
        if (self.unit == "parent") != (self.parent_resolution is not None):
            raise ValueError(
                "`parent_resolution` and unit `parent` belong together; got one of them"
            )
        return self


class GroupConfig(Section):
    """Groups of places, to tell errors apart.

    Attributes:
        table: columns ``id`` or ``lon``, ``lat``; ``weight`` averages several rows.
        value: the column that groups are made from.
        at: where the values are cut, ascending; four groups of equally many units when
            left out.
        names: of the groups, from low to high; one more than cuts.
    """

    table: TableInput
    value: str
    at: tuple[float, ...] | None = None
    names: tuple[str, ...] = ("Q1", "Q2", "Q3", "Q4")

    @model_validator(mode="after")
    def _names_fit(self) -> "GroupConfig":
        groups = 4 if self.at is None else len(self.at) + 1
        if len(self.names) != groups:
            raise ValueError(f"got {len(self.names)} names for {groups} groups")
        if self.at is not None and list(self.at) != sorted(set(self.at)):
            raise ValueError(f"cuts {self.at} do not ascend")
        return self


class EvaluationConfig(Section):
    """How the vectors of a run are scored.

    Attributes:
        labels: the tables of labels; none skips the evaluation.
        only: a table of the places to score on, by ``id``; all by default. Zones and
            areas count when most of their people, or cells, are among them.
        blocks: blocked splits by squares of ``degrees``, holding zones together where
            there are any; by H3 ``parent``; or by ``code``, the zones whose names
            begin alike (two characters of a US county's code name its state).
        degrees: side of a square.
        parent_resolution: H3 level of ``parent`` blocks.
        code_length: characters that ``code`` blocks share.
        region_code_length: characters of a zone's name that name its region, for
            leaving whole regions out.
        region_resolution: H3 level of the regions where there are no zones.
        protocols: how units are divided into training and test, such as ``blocked``,
            ``random``, ``region``, ``kfold`` or ``random@10`` (10 % of the labels).
        splits: random splits, and as many blocked ones.
        seed: of the splits and of LightGBM; not the run's, so that runs with different
            seeds are scored on the same splits.
        setting: of LightGBM: ``quick`` (200 trees), or ``paper`` (1000 trees, with the
            paper's settings for the scale of each task).
        readouts: trees and a linear readout, or the linear one alone.
        baselines: what to compare with; ``mora baselines`` lists them.
        baseline_options: baseline -> its options, such as the ``path`` of its weights.
        tune: try four settings of every baseline that has any, and take for each split
            the one that is best on a part of the training rows.
        groups: name -> groups of places.
        population: columns ``population`` and ``id`` or ``lon``, ``lat``: who lives
            where, to tell in the report for whom the records stand.
    """

    labels: tuple[LabelsConfig, ...] = ()
    only: TableInput | None = None
    blocks: Literal["degrees", "parent", "code"] = "degrees"
    degrees: float = Field(1.0, gt=0)
    parent_resolution: int = Field(3, ge=0, le=15)
    code_length: int = Field(2, ge=1)
    region_code_length: int = Field(2, ge=1)
    region_resolution: int = Field(1, ge=0, le=15)
    protocols: tuple[str, ...] = ("blocked", "random")
    splits: int = Field(5, ge=2)
    seed: int = Field(0, ge=0)
    setting: Literal["quick", "paper"] = "quick"
    readouts: Literal["both", "ridge"] = "both"
    baselines: tuple[str, ...] = ("lonlat", "harmonics", "line", "line+volume", "raw")
    baseline_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    tune: bool = False
    groups: dict[str, GroupConfig] = Field(default_factory=dict)
    population: TableInput | None = None
