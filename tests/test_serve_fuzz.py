"""Requests by chance, from what the service says of itself."""

import pytest

pytest.importorskip("schemathesis", reason="extra `dev` is not installed")
pytest.importorskip("fastapi", reason="extra `serve` is not installed")

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks
from tests.served import Encoder, of_cells, with_words

from mora.serve import Limits, make_app

# The test client of Starlette tells of its successor at every start.
pytestmark = pytest.mark.filterwarnings("ignore:Using .httpx. with:Warning")

load_all_checks()
# A schema cannot say that a ring is closed, that a polygon does not cross itself, that
# a vector is as wide as those of the run, or which places there are: such requests fit
# the schema and are rightly refused.
CHECKED = [c for c in CHECKS.get_all() if c.__name__ != "positive_data_acceptance"]

GENEROUS = Limits(per_second=1e9, burst=10**9)
OPEN = schemathesis.openapi.from_asgi(
    "/openapi.json",
    make_app(of_cells(), Encoder(), limits=GENEROUS, words=with_words()),
)


def by_chance(examples):
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@OPEN.parametrize()
@by_chance(3)
def test_few_requests_by_chance(case):
    case.call_and_validate(checks=CHECKED)


@pytest.mark.slow
@OPEN.parametrize()
@by_chance(60)
def test_many_requests_by_chance(case):
    case.call_and_validate(checks=CHECKED)
