"""One vector a place: sections side by side, each of a stated width and scale."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from mora.config import ExportConfig
from mora.fusion.content import content_basis, first_columns
from mora.fusion.context import neighbour_means
from mora.fusion.filling import fill
from mora.fusion.movement import movement_view
from mora.fusion.section import Section, leading
from mora.graph.storage import MobilityGraph
from mora.modalities.features import Features
from mora.progress import Progress, silent

# A Ridge with a fixed penalty trusts a section by its variance; movement is the widest,
# and the one that speaks for how busy a place is.
MOVEMENT_VARIANCE = 5.0
OTHER_VARIANCE = 0.5


@dataclass(frozen=True, eq=False)
class Fused:
    """Fused vectors and what their columns are.

    Attributes:
        vectors: one row a token.
        sections: name of each section -> its columns, first and one past the last.
        filled: name of each section -> tokens for which it was predicted.
    """

    vectors: Float32[np.ndarray, "tokens dim"]
    sections: dict[str, tuple[int, int]]
    filled: dict[str, int]


def fuse(
    graph: MobilityGraph,
    aligned: Float[np.ndarray, "tokens width"],
    features: Mapping[str, Features],
    config: ExportConfig,
    *,
    dim: int = 128,
    seed: int = 0,
    progress: Progress = silent,
) -> Fused:
    """Put what is known of each place into one vector.

    Five kinds of section, of which ``config`` gives the shares of ``dim``:

    - ``own``: the place's features of each modality (:func:`content_basis`);
    - ``contrast``: their difference from the mean over the places that it exchanges
      people with;
    - ``around``: the mean over the places two steps away;
    - ``movement``: volumes and factors of the flows (:func:`movement_view`);
    - ``aligned``: principal components of the vector that training aligned. It gets
      the columns that the others do not need.

    A modality that a place lacks is predicted from its other sections and its
    neighbours, so that every place lies in the same space. No label takes part.

    Args:
        graph: the mobility graph.
        aligned: the vectors that training left.
        features: of every modality.
        config: the shares.
        dim: columns in all.
        seed: of the sketch of the flows.
        progress: told the edges that are streamed for the flows.

    Returns:
        Vectors whose movement has total variance 5 and whose other sections share
        0.5 equally; narrower than ``dim`` if there is not as much to tell.
    """
    content = {name: content_basis(f) for name, f in features.items()}
    width = round(config.movement * dim)
    movement = movement_view(graph, width, seed=seed, progress=progress)
    linked = Section(np.asarray(aligned, np.float64), graph.degree() > 0)
    gaps = {f"own {name}": s for name, s in content.items()}
    gaps |= {"movement": movement, "aligned": linked}
    own = {
        name: _complete(s, _relatives(graph, name, content, movement, linked), seed)
        for name, s in content.items()
    }
    parts = _content_parts(graph, own, config, dim, seed)
    parts["movement"] = _complete(movement, own, seed)
    left = max(dim - sum(s.width for s in parts.values()), 0)
    whole = _complete(linked, own, seed)
    parts["aligned"] = Section(leading(whole.values, left), whole.present)
    filled = {name: int((~s.present).sum()) for name, s in gaps.items()}
    return _side_by_side(parts, {name: n for name, n in filled.items() if n})


def _relatives(
    graph: MobilityGraph,
    name: str,
    content: Mapping[str, Section],
    movement: Section,
    linked: Section,
) -> dict[str, Section]:
    """Gather what a modality can be predicted from where a place lacks it."""
    if content[name].present.all():
        return {}
    near = neighbour_means(graph, content[name])
    far = neighbour_means(graph, near, 0.5)
    known = {other: s for other, s in content.items() if other != name}
    known |= {"its neighbours": near, "theirs": far}
    return known | {"its movement": movement, "its aligned vector": linked}


def _complete(section: Section, known: Mapping[str, Section], seed: int) -> Section:
    """Predict the rows that a section lacks; then every token has it."""
    return Section(fill(section, known, seed), np.ones(len(section.present), bool))


def _content_parts(
    graph: MobilityGraph,
    own: Mapping[str, Section],
    config: ExportConfig,
    dim: int,
    seed: int,
) -> dict[str, Section]:
    """Give the modalities of the place, of its difference, and of what is around."""
    contrast, around = {}, {}
    for name, section in own.items():
        near = _complete(neighbour_means(graph, section), {name: section}, seed)
        far = neighbour_means(graph, neighbour_means(graph, section, 0.5), 0.5)
        contrast[name] = Section(section.values - near.values, section.present)
        around[name] = _complete(far, {name: section}, seed)
    parts = {}
    for kind, sections in (("own", own), ("contrast", contrast), ("around", around)):
        total = round(getattr(config, kind) * dim)
        widths = divide(total, {name: s.width for name, s in sections.items()})
        for name, width in widths.items():
            if width:
                parts[f"{kind} {name}"] = first_columns(sections[name], width)
    return parts


def _side_by_side(parts: Mapping[str, Section], filled: dict[str, int]) -> Fused:
    """Scale the sections and put them into one vector."""
    parts = {name: s for name, s in parts.items() if s.width}
    others = max(len(parts) - ("movement" in parts), 1)
    scaled, sections, end = [], {}, 0
    for name, section in parts.items():
        moves = name == "movement"
        variance = MOVEMENT_VARIANCE if moves else OTHER_VARIANCE / others
        scaled.append(section.with_variance(variance).values)
        sections[name] = (end, end + section.width)
        end += section.width
    return Fused(np.hstack(scaled).astype(np.float32), sections, filled)


def divide(total: int, widths: Mapping[str, int]) -> dict[str, int]:
    """Divide columns evenly; what a narrow one does not need goes to the others.

    Args:
        total: columns to give, >= 0.
        widths: the most that each can take.

    Returns:
        Columns of each; ``total`` together, or all there are.
    """
    given = dict.fromkeys(widths, 0)
    left = min(total, sum(widths.values()))
    while left:
        for name in widths:
            if left and given[name] < widths[name]:
                given[name] += 1
                left -= 1
    return given
