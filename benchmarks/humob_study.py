"""What each part of the improved ST-MoE-BERT is worth, on generated cities.

    python -m benchmarks.humob_study parts DIR    # every part left out or added
    python -m benchmarks.humob_study sample DIR   # the real sample of YJMob100K

Both write a table after every variant to DIR, so that a stopped study keeps what is
done. Development was on city A with the seeds 1 and 2; nothing here is chosen by these
scores.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import shared_data
from mora.config import load_section
from mora.config.loading import merge
from mora.pipeline.humob_cities import City, read_city
from mora.pipeline.humob_config import HumobConfig
from mora.trajectories.bert.day_choice import choose_days
from mora.trajectories.bert.learning import train_bert
from mora.trajectories.bert.prediction import PredictionConfig, predict_events
from mora.trajectories.events import MASKED, Events
from mora.trajectories.humob.baselines import BASELINES, predict
from mora.trajectories.humob.files import read_humob
from mora.trajectories.humob.scores import score_users
from mora.trajectories.humob.scoring import METRICS, compare, paired_score

SEED, USERS, CITIES = 3, 34, ("B", "C", "D")
# All parts are on here; those without a measured gain are off in the preset.
SMALL: dict[str, Any] = {
    "name": "study",
    "seed": SEED,
    "network": {
        "hidden_size": 48,
        "hidden_layers": 1,
        "location_embedding_size": 32,
        "input_seq_length": 60,
        "restrict_to_candidates": True,
    },
    "learning": {
        "training": {"epochs": 2, "batch_size": 16, "accelerator": "cpu"},
        "windows": {"window_stride": 60, "gap_events": 210},
        "validation_share": 0.3,
        "select_by": "cross_entropy",  # of ten users: GEO-BLEU says too little
        "keep_untrained": False,
    },
}
LAYOUTS = {
    "A": {"seed": 1, "centres": 12, "core_cells": 13.0, "suburb_cells": 21.0},
    "B": {"seed": 2, "centres": 6, "core_cells": 16.0, "suburb_cells": 27.0},
    "C": {"seed": 3, "centres": 16, "core_cells": 11.0, "suburb_cells": 18.0},
    "D": {"seed": 4, "centres": 3, "core_cells": 20.0, "suburb_cells": 34.0},
}
WIDE = [{"decay": 1.0}, {"decay": 1.0, "slot_width": 1.0}, {"slot_width": 2.0}]
ALL, DECODINGS = "all parts", ("argmax", "proximity", "days chosen")
PARTS: dict[str, dict[str, Any]] = {
    ALL: {},
    "no gaps": {"learning": {"windows": {"gap_events": 0}}},
    "prior floor 0.01, every place": {
        "learning": {"candidates": {"prior_floor": 0.01}},
        "network": {"restrict_to_candidates": False},
    },
    "every place": {"network": {"restrict_to_candidates": False}},
    "three histograms mixed": {"learning": {"candidates": {"histograms": WIDE}}},
    "no mask token, log delta or padding mask": {
        "network": {"mask_token": False, "log_delta": False, "padding_mask": False}
    },
    "top 2 experts, balanced": {"network": {"top_k": 2, "balance_weight": 0.01}},
    "no prior": {"network": {"prior": False}},
}
Scores = Mapping[str, np.ndarray]


def main(kind: str, folder: Path) -> None:
    """Run one of the studies."""
    folder.mkdir(parents=True, exist_ok=True)
    study_parts(folder) if kind == "parts" else study_sample(folder)


def study_parts(folder: Path) -> None:
    """Train every variant on every city; write their scores as they come."""
    made = {name: _generated(name) for name in CITIES}
    base = merge(SMALL, {"cities": made, "pretrain": CITIES[0]})
    cities = [read_city(n, load_section(base, HumobConfig)) for n in CITIES]
    scores: dict[str, Scores] = {}
    medoid = [predict("medoid", c.history, c.wanted) for c in cities]
    scores["medoid"] = _join(cities, medoid)
    scores["medoid, days chosen"] = _join(cities, list(map(_chosen, cities, medoid)))
    for name, changes in PARTS.items():
        start = time.process_time()
        found = [
            _train_and_predict(city, merge(base, changes), folder / f"{city.name}-{i}")
            for i, city in ((_folder_name(name), city) for city in cities)
        ]
        for decoding in found[0]:
            answers = [of_city[decoding] for of_city in found]
            scores[f"{name}, {decoding}"] = _join(cities, answers)
        _write_table(scores, folder / "parts.md")
        spent = time.process_time() - start
        print(name, f"{spent:.0f} s of CPU", flush=True)


def study_sample(folder: Path) -> None:
    """Learn from 700 users of the real sample and predict the other 300."""
    data = shared_data("yjmob_sample")
    if data is None:
        raise SystemExit("no yjmob_sample: set MORA_SHARED to the folder with data/.")
    city = divide_sample(read_humob(data / "yjmob_sample.csv.gz"))
    settings = merge(SMALL, {"cities": {"A": _generated("A")}, "pretrain": "A"})
    windows = {"window_stride": 10, "gap_events": 0}
    learning = {"windows": windows, "held_out_days": 1}
    settings = merge(settings, {"learning": learning})
    found = _train_and_predict(city, settings, folder / "sample")
    found |= {name: predict(name, city.history, city.wanted) for name in BASELINES}
    assert city.truth is not None
    table = compare(found, city.truth, "medoid")
    (folder / "sample.md").write_text(table.to_markdown())
    (folder / "sample.csv").write_text(table.to_csv())


def divide_sample(events: Events) -> City:
    """Ask for what follows the first 70 events of the last 300 of 1,000 users."""
    number = np.arange(len(events)) - np.repeat(events.offsets[:-1], events.counts())
    asked = (events.user_rows() >= 700) & (number >= 70)
    truth = events.select(asked)
    truth = truth.take_users(np.flatnonzero(truth.counts() > 0))
    wanted = truth.with_tokens(np.full_like(truth.token, MASKED))
    return City("A", events.select(~asked), wanted, truth)


def _generated(name: str) -> dict[str, Any]:
    layout = LAYOUTS[name]
    return {"generated": {"users": USERS, "layout": layout}, "target_users": USERS}


def _train_and_predict(
    city: City, settings: Mapping[str, Any], folder: Path
) -> dict[str, np.ndarray]:
    """Train on what is known of a city; give both decodings."""
    config = load_section(settings, HumobConfig, {"pretrain": city.name})
    told = {"network": config.bert(), "seed": config.seed}
    told["prediction"] = config.prediction
    learning = config.learning.model_copy(update=told)
    learned = train_bert(city.history, learning, folder)
    losses = [round(e["validation"], 4) for e in learned.state.history]
    print(folder.name, losses, flush=True)
    ways = {"argmax": {"decoding": "argmax"}, "proximity": {}}
    found = {
        name: predict_events(
            learned.trained,
            city.history,
            city.wanted,
            config.prediction.model_copy(update={**way, "choose_days": False}),
        )
        for name, way in ways.items()
    }
    return found | {"days chosen": _chosen(city, found["proximity"])}


def _chosen(city: City, tokens: np.ndarray) -> np.ndarray:
    known = city.history.take_users(
        np.flatnonzero(np.isin(city.history.users, city.wanted.users))
    )
    return choose_days(tokens, known, city.wanted, PredictionConfig().past_days)


def _join(cities: list[City], answers: list[np.ndarray]) -> Scores:
    """Score each city's answers, user by user, one city after the other."""
    parts = []
    for city, tokens in zip(cities, answers, strict=True):
        assert city.truth is not None
        generated = city.truth.with_tokens(tokens.astype(np.int32))
        parts.append(score_users(generated, city.truth))
    return {m: np.concatenate([getattr(p, m) for p in parts]) for m in METRICS}


def _write_table(scores: Mapping[str, Scores], path: Path) -> None:
    """Write the scores beside the medoid's, and what each part is worth."""
    lines = ["| variant | " + " | ".join(t for t, *_ in METRICS.values()) + " |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    for name, own in scores.items():
        cells = (_beside(own, scores["medoid"], metric) for metric in METRICS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    users = len(scores["medoid"]["geo_bleu"])
    lines += ["", f"In brackets: paired difference to the medoid over {users} users."]
    lines += ["", "| GEO-BLEU, change by | " + " | ".join(DECODINGS) + " |"]
    lines += ["| --- | ---: | ---: | ---: |"]
    for part in PARTS:
        if f"{part}, argmax" in scores:
            cells = (_worth(scores, part, decoding) for decoding in DECODINGS)
            lines.append(f"| {part} | " + " | ".join(cells) + " |")
    path.write_text("\n".join(lines) + "\n")


def _beside(own: Scores, medoid: Scores, metric: str) -> str:
    digits = METRICS[metric][1]
    row = paired_score("", metric, own[metric], medoid[metric])
    return (
        f"{row.mean:.{digits}f} ({row.difference:+.{digits}f} ± "
        f"{row.difference_error:.{digits}f})"
    )


def _worth(scores: Mapping[str, Scores], part: str, decoding: str) -> str:
    """Give the difference to all parts; of all parts themselves, their score."""
    metric = "geo_bleu"
    own, every = (scores[f"{p}, {decoding}"][metric] for p in (part, ALL))
    row = paired_score(part, metric, own, every)
    if part == ALL:
        return f"{row.mean:.4f}"
    return f"{row.difference:+.4f} ± {row.difference_error:.4f}"


def _folder_name(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
