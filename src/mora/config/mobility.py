"""The ways in which movement can be given, one `kind` each."""

from typing import Annotated, Literal

from pydantic import Field

from mora.config.inputs import TableInput
from mora.config.section import Section

SparkSetting = Annotated[str, Field(pattern=r"^spark\.")]
SettingValue = Annotated[str, Field(coerce_numbers_to_str=True)]


class Movement(Section):
    """Movement between places, whatever it is read from.

    Attributes:
        edges: ``movement`` joins places that exchange people; ``neighbours`` joins
            those that touch instead, to measure what movement is worth.
    """

    edges: Literal["movement", "neighbours"] = "movement"


class BigTable(Movement):
    """A table that may outgrow one machine, and the engine that reads it.

    Attributes:
        engine: ``embedded`` works in this process, ``spark`` on a Spark cluster or on
            the cores of this machine; the edges are the same.
        spark: settings of Spark, such as ``spark.master`` or ``spark.driver.memory``;
            for ``spark``.
    """

    engine: Literal["embedded", "spark"] = "embedded"
    spark: dict[SparkSetting, SettingValue] = Field(default_factory=dict)


class VisitsMobility(BigTable):
    """Records of who was where and when; weekly co-visits become edges.

    Attributes:
        table: columns ``user``, ``time`` and ``lon``, ``lat`` (or ``token``; for a
            square grid ``x``, ``y``).
        timezone: zone of times without one, and of the ISO weeks.
        min_users: distinct users per edge and per place; 2 in private, 5 to publish.
    """

    kind: Literal["visits"]
    table: TableInput = TableInput()
    timezone: str | None = None
    min_users: int = Field(2, ge=1)


class FlowsMobility(BigTable):
    """Flows between tokens, used as they are.

    Attributes:
        table: columns ``origin``, ``destination``, ``weight``; the ends are token
            names, or points (``origin_lon``, ``origin_lat``, ...).
        min_weight: pairs that move less than this are hidden; a published table that
            counts people should hide small groups.
    """

    kind: Literal["flows"]
    table: TableInput = TableInput()
    min_weight: float = Field(0.0, ge=0)


class GravityMobility(BigTable):
    """Flows between zones, spread over cells by population and distance.

    Attributes:
        table: columns ``origin``, ``destination``, ``weight``; the ends are zones.
        population: columns ``zone``, ``population``, ``lon``, ``lat``: who lives where.
        zones: columns ``zone``, ``population``, ``lon``, ``lat``: where the people of
            a zone are that ``population`` does not know.
        internal: the flow inside a zone is ``given`` in the table, modelled from
            ``workers``, or ``none``.
        workers_per_resident: for ``workers``; 0.456 is Census 2000's for the US.
        decay: form of the distance decay.
        decay_km: its scale in kilometres.
    """

    kind: Literal["gravity"]
    table: TableInput = TableInput()
    population: TableInput
    zones: TableInput | None = None
    internal: Literal["given", "workers", "none"] = "given"
    workers_per_resident: float = Field(0.456, gt=0)
    decay: Literal["exponential", "power"] = "exponential"
    decay_km: float = Field(20.0, gt=0)


class RadiationMobility(Movement):
    """Flows simulated from population with the radiation model.

    Attributes:
        population: columns ``population``, ``lon``, ``lat`` and, for pooling and
            blocks, ``zone``.
        commuters_per_resident: how many set out.
        min_flow: smaller flows are left out.
    """

    kind: Literal["radiation"]
    population: TableInput
    commuters_per_resident: float = Field(0.11, gt=0)
    min_flow: float = Field(0.5, ge=0)


class NeighboursMobility(Section):
    """No mobility data: adjacent tokens are joined."""

    kind: Literal["neighbours"]


class ArraysMobility(Movement):
    """A graph that is there already, as the released code keeps it.

    Attributes:
        graph: ``.npz`` of a scipy sparse matrix, or of ``row``, ``col``, ``weight``.
        cells: ``.npy`` of the H3 cell of each row, if known.
    """

    kind: Literal["arrays"]
    graph: str
    cells: str | None = None


Mobility = Annotated[
    VisitsMobility
    | FlowsMobility
    | GravityMobility
    | RadiationMobility
    | NeighboursMobility
    | ArraysMobility,
    Field(discriminator="kind"),
]
