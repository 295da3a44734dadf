"""Sampled LINE: vector pairs learned a CPU second, at the same link AUC."""

from benchmarks.ensmallen_line import NEGATIVES, open_ensmallen
from benchmarks.links import DIM, make_links
from benchmarks.measure import (
    in_turn,
    one_thread,
    print_costs,
    print_ratio,
    quick_mode,
    ratio,
)
from benchmarks.plain_line import plain_line
from mora.line.sampled import sampled

OURS, PLAIN, PEER = "Mora", "LINE as published, in numba", "ensmallen"
SIMILAR_AUC = 0.02


def main() -> None:
    """Compare samples a second with two peers."""
    quick = quick_mode(__doc__)
    one_thread()
    links = make_links(6_000, 600_000) if quick else make_links(20_000, 5_000_000)
    samples, epochs = (1_000_000, 1) if quick else (40_000_000, 2)
    peer = open_ensmallen(links.train)
    sides = {
        OURS: lambda: sampled(links.train, dim=DIM, samples=samples),
        PLAIN: lambda: plain_line(links.train, DIM, samples),
    }
    if peer is not None:
        sides[PEER] = lambda: peer.embed(DIM, epochs)
    results, costs = in_turn(sides, 2 if quick else 3)
    auc = {name: links.auc(vectors) for name, vectors in results.items()}
    for name, value in auc.items():
        whole = links.unweighted_auc(results[name])
        print(f"link AUC {value:.4f} (links unweighted {whole:.4f}): {name}")
    print(f"link AUC {links.degree_product_auc():.4f}: product of the degrees\n")
    print_costs(costs)
    if auc[OURS] < auc[PLAIN] - SIMILAR_AUC:
        raise SystemExit(f"ours tells links worse than plain LINE: {auc}")
    if peer is not None:
        # Ours draws 5 noise places an edge, ensmallen 1: count the pairs of vectors.
        pairs = samples * 6 / (peer.samples * epochs * (1 + NEGATIVES))
        value = ratio(costs[PEER], costs[OURS]) * pairs
        print_ratio("line_sampled_ensmallen", value, 1.0)
    print_ratio("line_sampled", ratio(costs[PLAIN], costs[OURS]), 1.4)


if __name__ == "__main__":
    main()
