"""Files of the challenge: cities written, any predictions scored."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from mora.pipeline.humob_cities import City, read_city
from mora.pipeline.humob_config import HumobConfig
from mora.tokens import GridTokens
from mora.trajectories.events import join_in_time
from mora.trajectories.humob.files import read_humob, write_humob
from mora.trajectories.humob.rules import find_rules
from mora.trajectories.humob.scores import score_users


def write_cities(config: HumobConfig, folder: Path) -> list[Path]:
    """Write cities in the challenge's form: data, truth and points of interest.

    Args:
        config: whose cities are written, generated or not.
        folder: made if it is missing.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in config.cities:
        city = read_city(name, config)
        written.append(folder / f"city{name}-dataset.csv.gz")
        write_humob(join_in_time(city.history, city.wanted), written[-1])
        if city.truth is not None:
            written.append(folder / f"city{name}-truth.csv.gz")
            write_humob(city.truth, written[-1])
        if city.categories is not None:
            written.append(_write_categories(city, folder / f"POI_city{name}.csv"))
    return written


def score_files(predicted: Path, truth: Path, rules: str) -> dict[str, float]:
    """Score a file of predictions against one of true places.

    Args:
        predicted: ``uid,d,t,x,y``.
        truth: the same events.
        rules: year of the challenge, which says the first day and the metrics.

    Returns:
        The mean over users of each metric.
    """
    year = find_rules(rules)
    known = read_humob(truth, first_day=year.first_day, every_cell=True)
    assert isinstance(known.tokens, GridTokens)
    found = read_humob(predicted, first_day=year.first_day, tokens=known.tokens)
    return score_users(found, known, year.variant).means()


def _write_categories(city: City, path: Path) -> Path:
    """Write ``x,y,category,POI_count`` of the cells and categories that have some."""
    assert city.categories is not None
    assert isinstance(city.history.tokens, GridTokens)
    cell, category = city.categories.nonzero()
    xy = city.history.tokens.xy()[cell]
    counts = city.categories[cell, category].astype("int64")
    columns = {"x": xy[:, 0], "y": xy[:, 1], "category": category + 1}
    pa_csv.write_csv(pa.table(columns | {"POI_count": counts}), path)
    return path
