import numpy as np
import pytest
from tests.visit_records import columns, files_of_at_most, group, random_records

from mora.errors import GraphError
from mora.graph import grouping, user_weeks
from mora.graph.user_weeks import RECORD, UserWeekBuilder
from mora.memory import MemoryLimitError


def plain_groups(records):
    """Group in the plain way: sets of places, by user and week, and visitors."""
    places = sorted({place for _, _, place in records})
    row = {place: number for number, place in enumerate(places)}
    weeks, visitors = {}, {place: set() for place in places}
    for user, week, place in records:
        weeks.setdefault((user, week), set()).add(row[place])
        visitors[place].add(user)
    several = [sorted(here) for _, here in sorted(weeks.items()) if len(here) > 1]
    return places, several, [len(visitors[place]) for place in places]


def many_visits(visits=400_000, places=1000, seed=0):
    rng = np.random.default_rng(seed)
    user, place = rng.integers(0, [[5_000], [places]], (2, visits)).astype(np.uint64)
    return user, rng.integers(0, 9, visits), place


def arrays(visits):
    return (visits.places, visits.visitors, visits.start, visits.user, visits.place)


def assert_equal_groups(one, other):
    for first, second in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(first, second)


def test_repeats_go_and_a_single_place_makes_no_user_week(tmp_path):
    records = [(5, 1, 70), (5, 1, 30), (5, 1, 70), (5, 2, 30), (8, 1, 50), (8, 1, 30)]
    visits = group(tmp_path, records)
    assert visits.places.tolist() == [30, 50, 70]
    assert visits.visitors.tolist() == [2, 1, 1]
    assert visits.start.tolist() == [0, 2, 4]
    assert visits.user.tolist() == [0, 1]
    assert visits.place.tolist() == [0, 2, 0, 1]
    assert visits.pairs() == 2


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_sets(tmp_path, seed):
    records = random_records(seed)
    visits = group(tmp_path, records)
    places, several, visitors = plain_groups(records)
    assert visits.places.tolist() == places
    assert visits.visitors.tolist() == visitors
    found = np.split(visits.place, visits.start[1:-1])
    assert sorted(here.tolist() for here in found) == sorted(several)
    assert visits.pairs() == sum(len(h) * (len(h) - 1) // 2 for h in several)


def test_repeats_and_batches_change_nothing(tmp_path):
    records = random_records(visits=200)
    builder = UserWeekBuilder(tmp_path / "b" / "records")
    for part in (records[90:], records[60:], records[:100]):
        builder.add(*columns(part))
    assert_equal_groups(group(tmp_path / "a", records), builder.group())
    assert not list((tmp_path / "b" / "records").iterdir())


def test_recent_repeats_are_not_even_written(tmp_path):
    often = [(5, 1, 70), (5, 1, 30)] * 500 + [(5, 2, 30)] * 500
    builder = UserWeekBuilder(tmp_path)
    builder.add(*columns(often))
    assert builder.records == 3
    builder.add(*columns([(5, 1, 70), (0, 0, 0), (0, 0, 0)]))
    assert builder.records == 5  # another batch forgets, grouping does not
    visits = builder.group()
    assert (visits.start.tolist(), visits.pairs()) == ([0, 2], 1)
    assert visits.visitors.tolist() == [1, 1, 1]


def test_memory_changes_the_batches_and_not_the_result(tmp_path):
    visits, written = many_visits(), {}
    for memory_gb in (0.02, 0.2):
        builder = UserWeekBuilder(tmp_path / str(memory_gb), memory_gb=memory_gb)
        write, sizes = builder._write, []
        builder._write = lambda *x, w=write, s=sizes: (s.append(len(x[0])), w(*x))
        builder.add(*visits)
        written[memory_gb] = (sizes, builder.group())
    assert written[0.2][0] == [400_000]
    assert written[0.02][0] == [156_250, 156_250, 87_500]
    assert_equal_groups(written[0.02][1], written[0.2][1])


def test_too_little_memory_is_refused_at_once(tmp_path):
    message = r"Collecting visits needs about 0.02 GB; 0.01 GB is allowed by memory_gb"
    with pytest.raises(MemoryLimitError, match=message):
        UserWeekBuilder(tmp_path / "records", memory_gb=0.01)
    assert not (tmp_path / "records").exists()


def test_groups_that_do_not_fit_are_refused_and_their_records_deleted(tmp_path):
    builder = UserWeekBuilder(tmp_path, memory_gb=0.02)
    builder.add(*many_visits(visits=1_300_000, places=80_000))
    message = r"Grouping 1,299,\d+ visits by user and week needs about 0.02 GB; 0.02 GB"
    with pytest.raises(MemoryLimitError, match=message):
        builder.group()
    assert not list(tmp_path.iterdir())


def test_too_many_places_are_refused_while_they_come(tmp_path):
    builder = UserWeekBuilder(tmp_path, memory_gb=0.02)
    message = r"Telling 312,\d\d\d places apart needs about 0.02 GB; 0.02 GB is allowed"
    with pytest.raises(MemoryLimitError, match=message):
        builder.add(*many_visits(visits=800_000, places=10**9))
    assert not list(tmp_path.iterdir())


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(GraphError, match="no visits to build a graph from"):
        UserWeekBuilder(tmp_path).group()


def test_nothing_is_added_by_an_empty_batch(tmp_path):
    builder = UserWeekBuilder(tmp_path)
    empty = np.zeros(0, np.uint64)
    builder.add(empty, np.zeros(0, np.int64), empty)
    assert builder.records == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("weeks", [[0, 2**31], [-(2**31) - 1, 0]])
def test_weeks_that_fit_no_record_are_refused(tmp_path, weeks):
    records = [(1, weeks[0], 1), (2, weeks[1], 1)]
    with pytest.raises(GraphError, match=rf"weeks run from {weeks[0]} to {weeks[1]};"):
        group(tmp_path, records)


def test_times_far_apart_do_not_fit_a_key(tmp_path):
    many = user_weeks.BUCKETS * np.arange(2**16)  # all in one file
    week = np.where(many == 0, -(2**31), 2**31 - 1)
    builder = UserWeekBuilder(tmp_path)
    builder.add(many.astype(np.uint64), week, many.astype(np.uint64))
    message = r"65536 users x 4294967296 weeks x 65536 places .* 64-bit key; check"
    with pytest.raises(GraphError, match=message):
        builder.group()
    assert not list(tmp_path.iterdir())


def test_lost_records_are_noticed(tmp_path):
    builder = UserWeekBuilder(tmp_path)
    builder.add(*columns(random_records()))
    written = builder.records
    size = (tmp_path / "3.bin").stat().st_size // RECORD.itemsize
    (tmp_path / "3.bin").unlink()
    with pytest.raises(
        GraphError, match=rf"holds {written - size} of the {written} records"
    ):
        builder.group()


def test_a_full_disk_surfaces_and_leaves_no_record(tmp_path):
    builder = UserWeekBuilder(tmp_path)
    builder.add(*columns(random_records()))
    with files_of_at_most(16_000), pytest.raises(OSError, match=r"too large|space"):
        builder.add(*many_visits())
    assert not list(tmp_path.iterdir())
    with pytest.raises(GraphError, match=r"holds 0 of the \d+ records"):
        builder.group()


def test_no_record_is_left_when_grouping_fails(tmp_path, monkeypatch):
    builder = UserWeekBuilder(tmp_path)
    builder.add(*columns(random_records()))

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(grouping, "_pack", fail)
    with pytest.raises(OSError, match="Input/output"):
        builder.group()
    assert not list(tmp_path.iterdir())


def test_progress_counts_the_files(tmp_path):
    builder, seen = UserWeekBuilder(tmp_path), []
    builder.add(*columns(random_records()))
    builder.group(lambda *x: seen.append(x))
    total = user_weeks.BUCKETS
    assert seen == [(done, total) for done in range(1, total + 1)]
