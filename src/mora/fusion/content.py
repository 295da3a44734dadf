"""What a place is: the given features of one modality, in few columns."""

import numpy as np

from mora.fusion.section import Section, leading, principal_axes
from mora.modalities.features import Features

NARROW = (
    16  # columns that are kept as they are; rotating few would hide them from trees
)
WIDE = 48  # principal components of wider modalities; sections take the first of them
FARTHEST = 4.0  # deviations; beyond, one odd place would bend every linear readout


def content_basis(features: Features) -> Section:
    """Bring a modality to a few columns of bounded range.

    Columns are standardised over the tokens that have them and clipped at 4 deviations.
    Up to 16 columns stay as they are; of more, the first 48 principal components are
    taken, with their spectrum.

    Args:
        features: of one modality.

    Returns:
        Columns with total variance 1, none of them constant; zero for tokens without
        the modality. No column if nothing varies.
    """
    scaled = features.standardised()
    present = np.array(scaled.present)
    varies = scaled.values.any(axis=0)  # a constant column is 0 everywhere
    values = np.clip(scaled.values[:, varies], -FARTHEST, FARTHEST).astype(np.float64)
    if values.shape[1] > NARROW and present.any():
        rows = values[present]
        values = (values - rows.mean(axis=0)) @ principal_axes(rows, WIDE)
        values[~present] = 0.0
    return Section(values, present).with_variance(1.0)


def first_columns(section: Section, width: int) -> Section:
    """Narrow a section made of :func:`content_basis`, losing as little as possible.

    Args:
        section: the content, or a mean or difference of contents.
        width: columns wanted, >= 1.

    Returns:
        The first components of a wide modality, which come sorted; of a narrow one all
        columns, or principal components if there is no room for all.
    """
    if section.width <= NARROW:
        return Section(leading(section.values, width), section.present)
    return Section(section.values[:, :width], section.present)
