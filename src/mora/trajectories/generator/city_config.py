"""Settings of a made-up city and of the people in it."""

from collections.abc import Mapping

from pydantic import Field

from mora.errors import MoraError
from mora.trajectories.generator.behaviour import Behaviour
from mora.trajectories.generator.layout import LayoutConfig

HUMOB_2024_USERS = {"A": 100_000, "B": 25_000, "C": 20_000, "D": 6_000}
LAYOUTS = {
    "A": LayoutConfig(seed=1, centres=12, core_cells=13.0, suburb_cells=21.0),
    "B": LayoutConfig(seed=2, centres=6, core_cells=16.0, suburb_cells=27.0),
    "C": LayoutConfig(seed=3, centres=16, core_cells=11.0, suburb_cells=18.0),
    "D": LayoutConfig(seed=4, centres=3, core_cells=20.0, suburb_cells=34.0),
}


# Calibrated to YJMob100K and FROZEN on 2026-11-22, before any model was scored on made
# cities. No default here or in Behaviour and LayoutConfig may be changed to suit a
# model. Measured with the default settings, seed 0 and 1,000 people in each of the
# cities A, B, C, D (city_configs):
#   figure (describe_events)            real         made
#   history rows over 60 days           700-1,100    807, 829, 825, 809
#   distinct cells in them              116-180      145, 149, 148, 150
#   revisits in days 60-74              0.84-0.87    0.857, 0.854, 0.857, 0.849
#   same cell in the next half-hour     0.184        0.180, 0.180, 0.177, 0.181
#     (real: the first 100 rows of 1,000 users; 0.20-0.24 is reported elsewhere)
#   GEO-BLEU of medoid (humob2024)      0.32         0.318, 0.321, 0.322, 0.322
#   GEO-BLEU of slot_mode               0.30         0.299, 0.302, 0.302, 0.303
#   GEO-BLEU of user_mode               0.22         0.224, 0.225, 0.221, 0.226
# and with 10,000 people in city A (share_of_top; homes: of 100,000 people):
#   pings in the top 1, 10, 25 % cells  .13 .57 .88  .11 .53 .85
#   homes in the top 1, 10, 25 % cells  .12 .60 .92  .15 .58 .86
# Again: describe_events(generate_city(config)) for each of city_configs(dict.fromkeys(
# "ABCD", 1_000)); humob.baselines.predict and humob.scores.score_users as in
# pytest -m slow tests/test_generator_city.py, which holds them to these figures.
class CityConfig(Behaviour):
    """People of a made-up city, and how they are seen in HuMob's half-hours.

    Attributes:
        seen: share of the slots in which a person is seen, on average.
        seen_spread: standard deviation of its log over people.
        seen_outside: times as many of the slots away from home.
        burst: chance that a slot is seen or not as the slot before it was.
        en_route: chance to be seen between two places when the place changes.
        home_noise_cells: scatter of the places seen around home.
        noise_cells: the same around the other places.
    """

    seen: float = Field(0.22, gt=0, lt=1)
    seen_spread: float = Field(0.35, ge=0)
    seen_outside: float = Field(1.4, gt=0)
    burst: float = Field(0.4, ge=0, lt=1)
    en_route: float = Field(0.5, ge=0, le=1)
    home_noise_cells: float = Field(0.4, ge=0)
    noise_cells: float = Field(0.6, ge=0)


def city_configs(
    users: Mapping[str, int] = HUMOB_2024_USERS,
) -> dict[str, CityConfig]:
    """Give cities that differ in layout and size, and whose people behave alike.

    Args:
        users: people of each city; some of A, B, C and D.

    Returns:
        Settings of each city.

    Raises:
        MoraError: if a city has no layout.
    """
    unknown = sorted(set(users) - set(LAYOUTS))
    if unknown:
        raise MoraError(
            f"no layout for the cities {', '.join(unknown[:3])}; expected some of "
            f"{', '.join(LAYOUTS)}."
        )
    return {
        city: CityConfig(layout=LAYOUTS[city], users=count)
        for city, count in users.items()
    }
