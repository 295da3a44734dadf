"""Tables of numbers, with and without a mapping of their columns."""

import pandas as pd
import pytest

from mora.config import ModalityConfig, RunConfig
from mora.errors import MissingColumnError, TableError
from mora.pipeline.display import Display
from mora.pipeline.inputs import RunContext
from mora.pipeline.rows import read_modality
from mora.tokens import ZoneTokens

TOKENS = ZoneTokens.from_zones(["a", "b"])
FRAME = pd.DataFrame(
    {
        "id": ["a", "b"],
        "young": [1.5, 2],
        "old": [3, None],
        "note": ["x", "y"],
        "weight": [1, 2],
    }
)


class Said(Display):
    """Keeps what is said."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def read(tmp_path, frame=FRAME, kind="table", in_memory=False, mapping=None, **options):
    path = tmp_path / "numbers.csv"
    frame.to_csv(path, index=False)
    table = {"path": None if in_memory else str(path), "columns": mapping or {}}
    modality = {"kind": kind, "inputs": [table], "options": options}
    config = RunConfig.model_validate(
        {
            "name": "numbers",
            "tokens": {"kind": "h3", "resolution": 5},
            "mobility": {"kind": "neighbours"},
            "modalities": {"d": modality},
        }
    )
    said = Said()
    frames = {"modalities.d.inputs.0": frame} if in_memory else {}
    context = RunContext(config, tmp_path, said, frames)
    rows = read_modality(context, "d", ModalityConfig(**modality), TOKENS)
    return rows, said.lines


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("kind", ["table", "demographics"])
@pytest.mark.parametrize("mapping", [None, {"id": "id"}])
def test_without_a_mapping_every_number_is_taken(tmp_path, kind, mapping, in_memory):
    rows, said = read(tmp_path, kind=kind, in_memory=in_memory, mapping=mapping)
    assert set(rows.columns) == {"token", "weight", "young", "old"}
    assert rows["token"].tolist() == ["a", "b"]
    assert rows["young"].tolist() == [1.5, 2]
    assert said[0] == "  modalities.d.inputs.0: left out, no numbers: note"
    assert said[1].endswith("rows kept with no old (1)")


def test_named_columns_are_all_that_is_taken(tmp_path):
    rows, _ = read(tmp_path, mapping={"id": "id", "age": "old"})
    assert set(rows) == {"token", "age"}
    assert set(read(tmp_path, columns=["old"])[0]) == {"token", "weight", "old"}


def test_a_column_of_text_that_is_named_is_refused(tmp_path):
    with pytest.raises(TableError, match="note is not a number"):
        read(tmp_path, mapping={"id": "id", "note": "note"})


def test_a_table_without_places_lists_its_columns(tmp_path):
    with pytest.raises(
        TableError, match=r"need id or lon \+ lat; got the columns young"
    ):
        read(tmp_path, FRAME[["young", "old"]])


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingColumnError, match="old2"):
        read(tmp_path, mapping={"id": "id", "old": "old2"})
