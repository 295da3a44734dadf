"""Sections that a place lacks, predicted from those it has."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from mora.fusion.section import Section

FEWEST = 30  # places to learn from
MOST = 50_000  # more teach a linear map nothing
PENALTIES = np.logspace(-1, 5, 13)


def fill(
    section: Section, known: Mapping[str, Section], seed: int = 0
) -> Float[np.ndarray, "tokens columns"]:
    """Predict the rows that a section lacks by a Ridge from other sections.

    The penalty is chosen by leaving one place out, on places that have the section; no
    label takes part. What another section lacks counts as zero, with a column that says
    so; squares let a prediction bend.

    Args:
        section: with gaps.
        known: name -> other sections.
        seed: of the places that it learns from, where they are very many.

    Returns:
        The section's values with every row filled; where fewer than 30 places have the
        section, or nothing else is known, the gaps stay zero.
    """
    enough = section.present.sum() >= FEWEST and section.width and known
    if section.present.all() or not enough:
        return section.values
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    columns = []
    for other in known.values():
        columns += [other.values, np.square(other.values)]
        if not other.present.all():
            columns.append(other.present[:, None].astype(float))
    given = np.hstack(columns)
    rows = np.flatnonzero(section.present)
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    model.fit(given[rows], section.values[rows])
    filled = section.values.copy()
    predicted = model.predict(given[~section.present])
    filled[~section.present] = predicted.reshape(-1, section.width)
    return filled
