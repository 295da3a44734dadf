"""Settings of a distillation, and encoding from files to files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mora.config import TrainingConfig, load_section
from mora.config.section import Section
from mora.distill.area_export import encode_area
from mora.distill.config import DISTILL_TRAINING, DistillConfig
from mora.distill.coordinate_encoder import CoordinateEncoder
from mora.distill.points import encode_points
from mora.distill.polygons import read_polygons
from mora.errors import MissingColumnError


class DistillingConfig(Section):
    """What `mora distill` is told.

    Attributes:
        distill: network, loss and tests.
        training: of the loop.
    """

    distill: DistillConfig = DistillConfig()
    training: TrainingConfig = DISTILL_TRAINING


def read_distilling(path: Path | None, epochs: int | None) -> DistillingConfig:
    """Read the settings; without a file they are the defaults.

    Args:
        path: YAML, or None.
        epochs: go over those of the file, if given.
    """
    given = load_section(path or {}, DistillingConfig)
    if epochs is None:
        return given
    training = given.training.model_copy(update={"epochs": epochs})
    return given.model_copy(update={"training": training})


def encode_table(
    encoder: CoordinateEncoder,
    source: Path,
    target: Path,
    on_invalid: str,
    columns: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Encode a table of points; say what was written.

    Raises:
        MissingColumnError: naming the options that name columns.
    """
    try:
        done = encode_points(
            encoder, source, target, on_invalid=on_invalid, **columns, **options
        )
    except MissingColumnError as error:
        remedy = "Name them with --lon, --lat and --keep."
        raise MissingColumnError(
            error.source, error.missing, error.found, remedy
        ) from error
    left = f", {done.invalid:,} not on Earth" if done.invalid else ""
    return f"wrote {target}: {done.places:,} places{left}"


def encode_polygons(
    encoder: CoordinateEncoder,
    source: Path,
    resolution: int,
    target: Path,
    options: Mapping[str, Any],
) -> str:
    """Encode every cell in the polygons of a file; say what was written."""
    cells = encode_area(encoder, read_polygons(source), resolution, target, **options)
    return f"wrote {target}: {cells:,} cells of level {resolution}"
