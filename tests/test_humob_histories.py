import numpy as np
import pytest

from mora.errors import MoraError
from mora.tokens import GridTokens
from mora.trajectories.events import MASKED, build_events
from mora.trajectories.humob.histories import known_visits, visited_cells

PLACES = GridTokens.from_xy(np.array([[x, 1] for x in range(1, 6)]))


def events(user, day, slot, token, tokens=PLACES, slots_a_day=48):
    columns = map(np.array, (user, day, slot, token))
    return build_events(*columns, tokens, slots_a_day)


def test_cells_are_counted_by_user():
    history = events([0] * 4 + [2], [0, 1, 2, 3, 0], [5] * 5, [4, 1, 4, 4, 2])
    cells = visited_cells(history)
    assert cells.offsets.tolist() == [0, 2, 3]
    assert cells.tokens.tolist() == [1, 4, 2]
    assert cells.counts.tolist() == [1, 3, 1]
    assert cells.places.tolist() == [1, 0, 1, 1, 0]


def test_cells_agree_with_unique():
    rng = np.random.default_rng(0)
    n = 500
    history = events(
        rng.integers(0, 9, n),
        rng.integers(0, 60, n),
        rng.integers(0, 48, n),
        rng.integers(0, 5, n),
    )
    cells = visited_cells(history)
    for user in range(len(history.users)):
        own = history.token[slice(*history.offsets[user : user + 2])]
        tokens, places, counts = np.unique(own, return_inverse=True, return_counts=True)
        mine = slice(*cells.offsets[user : user + 2])
        np.testing.assert_array_equal(cells.tokens[mine], tokens)
        np.testing.assert_array_equal(cells.counts[mine], counts)
        np.testing.assert_array_equal(
            cells.places[slice(*history.offsets[user : user + 2])], places
        )


def test_visits_follow_the_users_that_are_asked_for():
    history = events([1, 2, 2, 4], [0, 0, 1, 0], [0] * 4, [0, 1, MASKED, 3])
    wanted = events([0, 2, 4, 9], [5] * 4, [0] * 4, [MASKED] * 4)
    visits = known_visits(history, wanted)
    assert visits.users.tolist() == [0, 2, 4, 9]
    assert visits.counts().tolist() == [0, 1, 1, 0]
    assert visits.token.tolist() == [1, 3]


def test_names_of_users_may_be_text():
    history = events(["ann", "zoe"], [0, 0], [0, 0], [0, 1])
    wanted = events(["bob", "zoe"], [1, 1], [0, 0], [MASKED, MASKED])
    visits = known_visits(history, wanted)
    assert visits.counts().tolist() == [0, 1]
    assert visits.token.tolist() == [1]


def test_a_history_without_places_is_refused():
    masked = events([0, 0], [0, 1], [0, 0], [MASKED, MASKED])
    with pytest.raises(MoraError, match="none of the 2 events of the history has a"):
        known_visits(masked, masked)


@pytest.mark.parametrize(
    "other",
    [
        {"tokens": GridTokens.from_xy(np.array([[x, 2] for x in range(1, 6)]))},
        {"slots_a_day": 96},
    ],
)
def test_other_places_or_slots_are_refused(other):
    history = events([0], [0], [0], [0])
    wanted = events([0], [1], [0], [MASKED], **other)
    with pytest.raises(MoraError, match="expected the same places in the same order"):
        known_visits(history, wanted)
