"""The regions of Manhattan, on a file of their form."""

import numpy as np
import pytest

from mora.errors import ConfigError, MissingFileError, TableError
from mora.sources import read_manhattan_flows, read_manhattan_regions


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "regions.npz"
    np.savez(
        path,
        od=np.array([[3, 0, 2], [1, 0, 0], [0, 5, 0]]),
        poi_counts=np.arange(6).reshape(3, 2),
        landuse_counts=np.ones((3, 1)),
        image_emb=np.zeros((3, 4), np.float32),
        label_checkin=np.array([10, 20, 30]),
        label_crime=np.array([1, 2, 3]),
    )
    return path


def test_trips_become_flows(file):
    flows = read_manhattan_flows(file)
    rows = list(flows.itertuples(index=False, name=None))
    assert rows == [("0", "0", 3), ("0", "2", 2), ("1", "0", 1), ("2", "1", 5)]


def test_each_table_has_a_row_a_region(file):
    labels = read_manhattan_regions(file, table="labels")
    assert labels["id"].tolist() == ["0", "1", "2"]
    assert labels["label_checkin"].tolist() == [10, 20, 30]
    widths = {"poi": 2, "landuse": 1, "imagery": 4, "labels": 2}
    for table, width in widths.items():
        assert read_manhattan_regions(file, table=table).shape == (3, 1 + width)
    assert list(read_manhattan_regions(file).columns)[1:] == [
        "poi_counts_000",
        "poi_counts_001",
    ]


def test_other_tables_and_files_are_refused(file, tmp_path):
    with pytest.raises(ConfigError, match="table 'crime'; expected one of poi"):
        read_manhattan_regions(file, table="crime")
    with pytest.raises(MissingFileError, match="regions of Manhattan"):
        read_manhattan_flows(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", trips=np.zeros(2))
    with pytest.raises(TableError, match="holds trips; expected an array 'od'"):
        read_manhattan_flows(tmp_path / "other.npz")
