"""Place vectors that mean the same in two cities, and what they are made of."""

import numpy as np
import pytest

from mora.config import TrainingConfig
from mora.errors import MissingFileError, MoraError
from mora.tokens import GridTokens
from mora.trajectories.bert.place_inputs import HOURS, SMOOTHING, build_place_inputs
from mora.trajectories.bert.place_vectors import (
    PlaceVectorConfig,
    embed_places,
    read_place_heads,
    train_place_vectors,
)
from mora.trajectories.events import MASKED, build_events

FUNCTIONS = 4  # home, work, shop, bar
HOUR = np.array([2, 10, 16, 21])  # about which each is used
SIDE = 14


def grid(side=SIDE):
    xy = np.indices((side, side)).reshape(2, -1).T + 1
    return GridTokens.from_xy(xy, side, side)


def planted_city(seed):
    """Give events and points of interest of a city whose areas have known functions."""
    rng = np.random.default_rng(seed)
    tokens = grid()
    xy = tokens.xy()
    centres = rng.uniform(1, SIDE, (12, 2))
    nearest = np.linalg.norm(xy[:, None] - centres, axis=2).argmin(axis=1)
    function = (np.arange(12) % FUNCTIONS)[nearest]
    counts = rng.poisson(np.eye(FUNCTIONS)[function] * 3 + 0.3)
    token = np.repeat(np.arange(len(tokens)), rng.poisson(60, len(tokens)))
    hour = rng.normal(HOUR[function[token]], 2.0).round().astype(int) % 24
    user, day = rng.integers(0, 50, len(token)), rng.integers(0, 60, len(token))
    # Whole hours of a number of users: every second slot.
    return build_events(user, day, 2 * hour, token, tokens), counts, function


@pytest.fixture(scope="module")
def cities():
    return [planted_city(seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def inputs(cities):
    return [build_place_inputs(events, counts) for events, counts, _ in cities]


def config(**changes):
    training = TrainingConfig(
        learning_rate=1e-2, batch_size=128, epochs=15, accelerator="cpu"
    )
    return PlaceVectorConfig(
        **{"dim": 16, "hidden": 32, "training": training, **changes}
    )


def train(cities, folder, **changes):
    named = {str(number): city for number, city in enumerate(cities)}
    return train_place_vectors(named, config(**changes), folder)


@pytest.fixture(scope="module")
def shared(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    return *train(inputs, folder), folder


def share_of_same_function(first, second, cities):
    """Give how often the nearest place of the other city has the same function."""
    nearest = (first @ second.T).argmax(axis=1)
    return (cities[0][2] == cities[1][2][nearest]).mean()


def test_neighbours_in_the_other_city_have_the_same_function(cities, inputs, shared):
    heads, state, _ = shared
    vectors = [embed_places(heads, city) for city in inputs]
    assert share_of_same_function(*vectors, cities) > 0.9
    losses = [epoch["validation"] for epoch in state.history]
    assert min(losses) < losses[0]


def test_vectors_of_cities_trained_apart_say_nothing(cities, inputs, tmp_path):
    vectors = [
        [
            embed_places(train([city], tmp_path / str(seed), seed=seed)[0], city)
            for seed in seeds
        ]
        for city, seeds in zip(inputs, [(0, 1), (10, 11)], strict=True)
    ]
    shares = [
        share_of_same_function(first, second, cities)
        for first in vectors[0]
        for second in vectors[1]
    ]
    assert np.mean(shares) < 0.4  # by chance a quarter


def test_a_city_that_was_not_trained_on_has_vectors_too(cities, inputs, tmp_path):
    heads, _ = train(inputs[:1], tmp_path)
    vectors = [embed_places(heads, city) for city in inputs]
    assert share_of_same_function(*vectors, cities) > 0.8


def test_same_inputs_give_the_same_vector(inputs, shared):
    vectors = embed_places(shared[0], inputs[0])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(vectors, embed_places(shared[0], inputs[0]))


def test_heads_are_read_back(inputs, shared):
    again = read_place_heads(shared[2])
    np.testing.assert_array_equal(
        embed_places(again, inputs[1]), embed_places(shared[0], inputs[1])
    )


def test_no_heads_in_an_empty_folder(tmp_path):
    with pytest.raises(MissingFileError, match="settings of trained place vectors"):
        read_place_heads(tmp_path)


def test_every_option_counts(inputs, tmp_path):
    few = TrainingConfig(learning_rate=1e-2, epochs=2, accelerator="cpu")
    slower = few.model_copy(update={"learning_rate": 1e-3})
    changes = [
        {},
        {"temperature": 0.5},
        {"reconstruction_weight": 0.0},
        {"seed": 5},
        {"hidden": 8},
        {"training": slower},
    ]
    vectors = []
    for number, change in enumerate(changes):
        settings = {"training": few, **change}
        heads, _ = train(inputs, tmp_path / str(number), **settings)
        vectors.append(embed_places(heads, inputs[0]))
    for other in vectors[1:]:
        assert not np.allclose(other, vectors[0])


def test_dim_is_the_size_of_a_vector(inputs, tmp_path):
    heads, _ = train(inputs, tmp_path, dim=5)
    assert embed_places(heads, inputs[0]).shape == (SIDE**2, 5)


def test_inputs_of_a_hand_worked_place():
    tokens = grid(2)
    # Four visits of the first place at 7:00 on a Monday, two of the second at 19:00.
    events = build_events(
        np.arange(6), np.full(6, 1), np.array([14] * 4 + [38] * 2),
        np.array([0] * 4 + [1] * 2), tokens,
    )  # fmt: skip
    counts = np.array([[1], [3], [0], [0]])
    inputs = build_place_inputs(events, counts)
    np.testing.assert_allclose(inputs.categories[:, 0], np.log([2, 4, 1, 1]), rtol=1e-6)
    # All four cells touch: the surroundings are the mean of the other three.
    np.testing.assert_allclose(inputs.categories[0, 1], np.log(4) / 3, rtol=1e-6)
    np.testing.assert_allclose(inputs.use[:, 0], [0.75, 0.5, 0, 0])
    city = 5 / (6 + 2 * HOURS)
    lift = np.log((4 + SMOOTHING * city) / (4 + SMOOTHING) / city)
    np.testing.assert_allclose(inputs.use[0, 1 + 7], lift, rtol=1e-6)
    np.testing.assert_allclose(inputs.use[3, inputs.profile], 0, atol=1e-6)
    np.testing.assert_array_equal(inputs.visited, [True, True, False, False])


def test_weekends_have_hours_of_their_own():
    tokens = grid(2)
    day = np.array([1, 6])  # a weekday, a weekend day
    events = build_events(
        np.arange(2), day, np.array([14, 14]), np.zeros(2, int), tokens
    )
    hours = build_place_inputs(events, np.zeros((4, 1))).use[0, 1 : 1 + 2 * HOURS]
    np.testing.assert_array_equal(np.flatnonzero(hours > 0), [7, 7 + HOURS])


def test_a_wider_radius_takes_more_surroundings(cities):
    events, counts, _ = cities[0]
    near = build_place_inputs(events, counts)
    far = build_place_inputs(events, counts, radius_cells=3.0)
    assert np.allclose(near.categories[:, :4], far.categories[:, :4])
    assert not np.allclose(near.categories[:, 4:], far.categories[:, 4:])
    alone = build_place_inputs(events, counts, radius_cells=0.5)
    assert (alone.categories[:, 4:] == 0).all()


def test_masked_events_play_no_part(cities):
    events, counts, _ = cities[0]
    late = events.day >= 50
    masked = events.with_tokens(np.where(late, MASKED, events.token))
    np.testing.assert_array_equal(
        build_place_inputs(masked, counts).use,
        build_place_inputs(events.select(~late), counts).use,
    )


def test_bad_inputs_are_refused(cities, inputs, shared, tmp_path):
    events, counts, _ = cities[0]
    with pytest.raises(MoraError, match="195 rows of counts for 196 places"):
        build_place_inputs(events, counts[1:])
    with pytest.raises(MoraError, match=r"784 of 784 counts .* are negative"):
        build_place_inputs(events, -1 - counts)
    with pytest.raises(MoraError, match="has a known place"):
        build_place_inputs(events.with_tokens(np.full(len(events), MASKED)), counts)
    with pytest.raises(MoraError, match="no cities to learn"):
        train_place_vectors({}, config(), tmp_path)
    other = build_place_inputs(events, counts[:, :2])
    with pytest.raises(MoraError, match=r"1 has \(4, 98, 48\) columns"):
        train([inputs[0], other], tmp_path)
    with pytest.raises(MoraError, match="Count the same categories"):
        embed_places(shared[0], other)
    few = build_place_inputs(events.select(events.token < 3), counts)
    with pytest.raises(MoraError, match="3 visited places leave 1 for training"):
        train([few], tmp_path)
