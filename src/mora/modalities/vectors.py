"""Vectors of places, such as RAW's of regions, as a modality."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mora.errors import MissingColumnError, MissingFileError, TableError
from mora.modalities.features import Features, modality
from mora.personal import require_not_personal
from mora.tokens import Tokens, tokens_from_table


@modality("vectors")
def build_vectors(
    tokens: Tokens, frame: pd.DataFrame | None = None, *, path: Path | str
) -> Features:
    """Take the vectors that an embeddings file has for the same places.

    Args:
        tokens: the row order of the features.
        frame: not used; the file is a table of its own.
        path: Parquet that Mora wrote, such as ``embeddings.parquet`` of ``mora raw
            embed-regions``.

    Returns:
        Features; tokens that the file does not have are missing.

    Raises:
        MissingFileError: if there is no such file.
        PersonalDataError: if the vectors are of people.
        MissingColumnError: if the file has no vectors.
        TableError: if it has none of the tokens.
    """
    del frame
    require_not_personal(Path(path))
    if not Path(path).is_file():
        raise MissingFileError(path, "vectors")
    table = pq.read_table(path)
    if "embedding" not in table.column_names:
        raise MissingColumnError(str(path), ["embedding"], table.column_names)
    given = tokens_from_table(table, str(path))
    vectors = np.stack(table["embedding"].to_numpy())
    row = np.full(len(tokens), -1)
    if given.kind == tokens.kind:
        row = given.find(tokens.ids)
    present = row >= 0
    if not present.any():
        raise TableError(
            f"{path}: none of its {len(given)} {given.kind} places is one of "
            f"{len(tokens)} {tokens.kind} tokens; expected the same places. Make them "
            f"with the same resolution."
        )
    columns = [f"v{i:03d}" for i in range(vectors.shape[1])]
    notes = {"places": len(given), "used": int(present.sum())}
    return Features.from_values(vectors[row], present, columns, notes)
