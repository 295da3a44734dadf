"""Predict where users are, block after block, from the network's own answers on."""

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field

from mora.errors import MoraError, RunError, examples
from mora.progress import Progress, silent
from mora.trajectories.bert.day_choice import choose_days
from mora.trajectories.bert.decoding import DecodingConfig, decode
from mora.trajectories.bert.trained import TrainedBert
from mora.trajectories.bert.vocabulary import Vocabulary
from mora.trajectories.bert.windows import EventColumns, build_columns, windows_at
from mora.trajectories.events import MASKED, Events

QUESTION = "question.json"


class PredictionConfig(DecodingConfig):
    """How users are predicted, beside how an answer is chosen.

    Attributes:
        delta_restarts: the first predicted event has the delta 0, as in the released
            code, not the slots since the last known event.
        choose_days: a day of the network's answers is kept only where none of the
            medoid's would have done better on the user's past days; see
            :func:`mora.trajectories.bert.day_choice.choose_days`.
        past_days: how many past days that are.
        users_at_once: users of a chunk; each chunk is kept as a file of its own.
    """

    delta_restarts: bool = False
    choose_days: bool = False
    past_days: int = Field(24, ge=1)
    users_at_once: int = Field(64, ge=1)


def predict_events(
    trained: TrainedBert,
    history: Events,
    wanted: Events,
    config: PredictionConfig | None = None,
    *,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Int[np.ndarray, " events"]:
    """Predict where users are at given times.

    Source: released ST-MoE-BERT code: the network answers ``predict_seq_length`` events
    at once, which then are the newest events of the history of the next ones; a network
    that was trained with gaps (``gap_events``) sees what is known alone.

    Args:
        trained: network and vocabulary.
        history: what is known; masked events, and those from a user's first wanted
            event on, are left out.
        wanted: user, day and slot of the events; their places are not read.
        config: how answers are chosen.
        folder: where each chunk is kept, so that a stopped prediction goes on; None to
            keep nothing.
        progress: told the users done and their number.

    Returns:
        A token for every event of ``wanted``.

    Raises:
        MoraError: if a user has no history, or the places are not the same.
        RunError: if the folder holds another prediction.
    """
    config = config or PredictionConfig()
    joined, asked = join_events(history, wanted)
    _require_past(trained, joined, asked, config)
    if folder is not None:
        _claim(folder, _question(trained, joined, asked, config))
    trained.model.eval()
    users, parts = len(joined.users), []
    for first in range(0, users, config.users_at_once):
        chunk = slice(first, min(first + config.users_at_once, users))
        path = None if folder is None else folder / f"part-{first:07d}.npy"
        if path is not None and path.exists():
            parts.append(np.load(path))
        else:
            parts.append(_predict_users(trained, joined, asked, chunk, config))
            _keep(path, parts[-1])
        progress(chunk.stop, users)
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def join_events(
    history: Events, wanted: Events
) -> tuple[Events, Int[np.ndarray, " users"]]:
    """Put the wanted events of each user after what is known before them.

    Args:
        history: what is known.
        wanted: events to predict; their places are not read.

    Returns:
        The events of the users of ``wanted`` who have some, the wanted ones masked and
        in their order; and how many are wanted of each user.

    Raises:
        MoraError: if a user has no known event before the first wanted one, or both
            are not over the same places and slots.
    """
    _require_same_places(history, wanted)
    wanted = wanted.take_users(np.flatnonzero(wanted.counts() > 0))
    position = np.searchsorted(wanted.users, history.users)
    position = position.clip(max=max(len(wanted.users) - 1, 0))
    asked = wanted.users[position] == history.users if len(wanted) else position < 0
    user = position[history.user_rows()]
    start = wanted.time()[wanted.offsets[:-1]]
    keep = asked[history.user_rows()] & ~history.masked()
    keep[keep] = history.time()[keep] < start[user[keep]]
    before = np.bincount(user[keep], minlength=len(wanted.users))
    _require_history(wanted, before)
    user = np.concatenate([user[keep], wanted.user_rows()])
    order = np.argsort(user, kind="stable")  # what is known stays before what is not

    def column(known: np.ndarray, asked_for: np.ndarray) -> np.ndarray:
        return np.concatenate([known[keep], asked_for])[order]

    masked = np.full(len(wanted), MASKED, wanted.token.dtype)
    joined = replace(
        wanted,
        offsets=np.append(0, np.cumsum(before + wanted.counts())),
        day=column(history.day, wanted.day),
        slot=column(history.slot, wanted.slot),
        token=column(history.token, masked),
    )
    return joined, wanted.counts()


def _predict_users(
    trained: TrainedBert,
    joined: Events,
    asked: Int[np.ndarray, " users"],
    chunk: slice,
    config: PredictionConfig,
) -> Int[np.ndarray, " events"]:
    """Predict some users, one block of events of all of them after the other."""
    events = joined.take_users(np.arange(chunk.start, chunk.stop))
    reader, end = trained.reader, events.offsets[1:]
    start = end - asked[chunk]
    columns = build_columns(events, _locations(reader.vocabulary, events))
    if config.delta_restarts:
        columns.delta[start] = 0
    for block in range(0, int(asked[chunk].max()), reader.network.predict_seq_length):
        left = start + block < end
        windows = windows_at(
            columns,
            (start + block)[left],
            reader.network,
            reader.windows,
            known_end=start[left],
        )
        batch = reader.read(
            windows, torch.arange(len(windows)), candidates=config.restrict
        )
        device = next(trained.model.parameters()).device
        with torch.no_grad():
            logits = trained.model(batch.inputs.to(device))
        found = decode(logits, reader.vocabulary, config, batch.candidates).cpu()
        _write(columns, batch.rows, batch.known, found)
    wanted = events.masked()
    found = reader.vocabulary.decode(columns.location[wanted])
    if not config.choose_days:
        return found
    known = events.select(~wanted)
    return choose_days(found, known, events.select(wanted), config.past_days)


def _write(
    columns: EventColumns,
    rows: torch.Tensor,
    known: torch.Tensor,
    found: torch.Tensor,
) -> None:
    """Enter answers, which the next block sees as its newest history."""
    columns.location[rows[known].numpy()] = found[known].numpy()


def _locations(vocabulary: Vocabulary, events: Events) -> Int[np.ndarray, " events"]:
    """Give the locations of the known events; 0 for the others."""
    known = ~events.masked()
    location = np.zeros(len(events), np.int64)
    location[known] = vocabulary.encode(events.token[known])
    return location


def _require_same_places(history: Events, wanted: Events) -> None:
    same = np.array_equal(history.tokens.ids, wanted.tokens.ids)
    if not same or history.slots_a_day != wanted.slots_a_day:
        raise MoraError(
            f"the history is over {len(history.tokens)} places and "
            f"{history.slots_a_day} slots a day, the wanted events over "
            f"{len(wanted.tokens)} and {wanted.slots_a_day}; expected the same places "
            f"in the same order. Build both from one set of tokens."
        )


def _require_history(wanted: Events, before: Int[np.ndarray, " users"]) -> None:
    without = wanted.users[before == 0]
    if len(without):
        raise MoraError(
            f"{len(without)} of {len(before)} users have no known event before the "
            f"first wanted one (first: {examples(without.tolist())}); expected a "
            f"history. Leave them out, or predict them with a baseline."
        )


def _require_past(
    trained: TrainedBert,
    joined: Events,
    asked: Int[np.ndarray, " users"],
    config: PredictionConfig,
) -> None:
    """Refuse other places, and users of whose past the network knows no place."""
    vocabulary = trained.reader.vocabulary
    if not np.array_equal(vocabulary.tokens.ids, joined.tokens.ids):
        raise MoraError(
            f"the network knows {len(vocabulary.tokens)} places and the events are "
            f"over {len(joined.tokens)}; expected the same places in the same order. "
            f"Read the network with the tokens of the events."
        )
    if not (config.restrict or trained.reader.network.restrict_to_candidates):
        return
    known = vocabulary.places()[_locations(vocabulary, joined)] & ~joined.masked()
    found = np.bincount(joined.user_rows()[known], minlength=len(asked))
    lost = joined.users[found == 0]
    if len(lost):
        raise MoraError(
            f"{len(lost)} of {len(asked)} users have been at none of the "
            f"{vocabulary.places().sum()} places that the network knows (first: "
            f"{examples(lost.tolist())}), so there is no candidate for them; switch "
            f"`restrict` off, or leave them out."
        )


def _question(
    trained: TrainedBert,
    joined: Events,
    asked: Int[np.ndarray, " users"],
    config: PredictionConfig,
) -> dict[str, Any]:
    """Give what tells one prediction from another."""
    users = "\n".join(map(str, joined.users)).encode()
    columns = (joined.offsets, joined.day, joined.slot, joined.token, asked)
    weights = [w.cpu().numpy() for w in trained.model.state_dict().values()]
    return {
        "config": config.model_dump(),
        "network": trained.reader.network.model_dump(),
        "weights": zlib.crc32(b"".join(w.tobytes() for w in weights)),
        "events": zlib.crc32(users + b"".join(c.tobytes() for c in columns)),
    }


def _claim(folder: Path, question: dict[str, Any]) -> None:
    """Note what the parts in a folder are about, or see that it is the same."""
    path = folder / QUESTION
    if path.exists() and json.loads(path.read_text()) != question:
        raise RunError(
            f"{folder} holds parts of a prediction of other events, by another network "
            f"or with other options; expected the same. Give another folder, or delete "
            f"this one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(question, indent=1) + "\n")


def _keep(path: Path | None, tokens: Int[np.ndarray, " events"]) -> None:
    if path is None:
        return
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, tokens)
    part.replace(path)  # whole or not at all
