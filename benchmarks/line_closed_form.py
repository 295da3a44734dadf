"""Closed-form LINE: processor time for the link AUC that sampling would reach."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np

from benchmarks.ensmallen_line import open_ensmallen
from benchmarks.links import DIM, Links, make_links
from benchmarks.measure import Cost, measure, one_thread, print_ratio, quick_mode
from benchmarks.plain_line import plain_line
from mora.line.closed_form import closed_form
from mora.line.sampled import sampled

SHIFTS = (0.05, 0.1, 0.25, 0.5, 1.0)
WEIGHTINGS = (0.0, 1.0)
GOAL = 8.0
# A peer may take up to so many times our processor time to reach our AUC.
BUDGETS = (2, 4, 8, 12, 20)
QUICK_BUDGETS = (18,)
RATE_SAMPLES = 200_000


def main() -> None:
    """Choose settings on validation links, then race the samplers to their AUC."""
    quick = quick_mode(__doc__)
    one_thread()
    links = make_links(4_000, 300_000) if quick else make_links(20_000, 5_000_000)
    chosen = choose_settings(links)
    vectors, ours = measure(partial(closed_form, links.train, dim=DIM, **chosen))
    auc = links.auc(vectors)
    print(f"\nlink AUC {links.degree_product_auc():.4f}: product of the degrees")
    print("\n| method | CPU s | link AUC | links unweighted |\n|---|---|---|---|")
    settings = "b = {shift:g}, weighting {weighting:g}".format(**chosen)
    row(f"closed form, {settings}", ours, links, vectors)
    budgets = QUICK_BUDGETS if quick else BUDGETS
    ratios = {}
    for name, start in samplers(links).items():
        ratios[name] = race(name, start, ours, auc, links, budgets)
    print()
    for name, value in ratios.items():
        print_ratio(f"line_closed_form_{name}", value, GOAL)
    print_ratio("line_closed_form", min(ratios.values()), GOAL)


def choose_settings(links: Links) -> dict[str, float]:
    """Print the AUC of each shift and weighting; choose by the validation links."""
    print("\n| shift b | weighting | validation AUC | test AUC | links unweighted |")
    print("|---|---|---|---|---|")
    found = {}
    for shift, weighting in product(SHIFTS, WEIGHTINGS):
        settings = {"shift": shift, "weighting": weighting}
        vectors = closed_form(links.train, dim=DIM, **settings)
        seen = links.auc(vectors, "validation")
        test, whole = links.auc(vectors), links.unweighted_auc(vectors)
        print(f"| {shift:g} | {weighting:g} | {seen:.4f} | {test:.4f} | {whole:.4f} |")
        found[seen] = settings
    return found[max(found)]


def row(name: str, cost: Cost, links: Links, vectors: np.ndarray) -> float:
    """Print one method's cost and scores; give its AUC."""
    auc, whole = links.auc(vectors), links.unweighted_auc(vectors)
    print(f"| {name} | {cost.cpu:.2f} | {auc:.4f} | {whole:.4f} |", flush=True)
    return auc


def samplers(links: Links) -> dict[str, Callable[[float], Callable[[], np.ndarray]]]:
    """Give for each method: processor seconds -> the call that takes about as long."""
    ours = partial(sampled, links.train, dim=DIM)
    plain = partial(plain_line, links.train, DIM)
    first = {"sampled": lambda n: ours(samples=n), "plain": plain}
    units = {"sampled": RATE_SAMPLES, "plain": RATE_SAMPLES, "ensmallen": 1}
    peer = open_ensmallen(links.train)
    if peer is not None:
        first["ensmallen"] = partial(peer.embed, DIM)
    prepared = {}
    for name, call in first.items():
        call(units[name])  # compiles
        seconds = measure(partial(call, units[name]))[1].cpu / units[name]
        prepared[name] = partial(_call_for, call, seconds)
    return prepared


def _call_for(
    call: Callable[[int], np.ndarray], seconds_a_unit: float, seconds: float
) -> Callable[[], np.ndarray]:
    return partial(call, max(1, round(seconds / seconds_a_unit)))


def race(
    name: str,
    start: Callable[[float], Callable[[], np.ndarray]],
    ours: Cost,
    auc: float,
    links: Links,
    budgets: tuple[int, ...],
) -> float:
    """Give a method more time until it reaches our AUC.

    Returns:
        Its processor time by ours: at equal AUC, by interpolation, or of its last and
        longest try where it never reaches it.
    """
    before = (0.0, 0.5)
    for budget in budgets:
        vectors, cost = measure(start(budget * ours.cpu))
        reached = row(f"{name}, {budget}x the time", cost, links, vectors)
        spent = cost.cpu / ours.cpu
        if reached >= auc:
            part = (auc - before[1]) / (reached - before[1])
            return before[0] + part * (spent - before[0])
        before = (spent, reached)
    return before[0]


if __name__ == "__main__":
    main()
