"""Spherical harmonics against scipy and against a closed form for each column.

``python -m benchmarks.harmonics [--quick]``
"""

import math
from collections.abc import Callable
from functools import partial
from statistics import median

import mpmath
import numpy as np
import torch
from scipy.special import sph_harm_y_all

from benchmarks.measure import in_turn, print_costs, print_ratio, quick_mode, ratio
from mora.harmonics import spherical_harmonics

DEGREE = 32
BLOCK = 1024  # points at a time, as an encoder takes them; scipy is no faster on more
LARGE_BLOCK = 16_384  # five times faster than 1,024 for the closed form
PLACES = [(-73.97, 40.78), (0.0, 0.0), (33.0, 80.0), (-77.0, 89.9), (12.0, -90.0)]
ERROR = 2e-7  # that any side may have; float32 rounds to 1.2e-7

Side = Callable[[np.ndarray], np.ndarray]


def by_scipy(lonlat: np.ndarray) -> np.ndarray:
    """Turn scipy's complex harmonics into real ones, in our order and sign."""
    phi, theta = np.radians(lonlat + np.array([180.0, 90.0])).T
    # (bands, orders 0..n, -n..-1, points)
    values = sph_harm_y_all(DEGREE - 1, DEGREE - 1, theta, phi)
    real = np.empty((len(lonlat), DEGREE**2))
    for band in range(DEGREE):
        middle = band * (band + 1)
        real[:, middle] = values[band, 0].real
        for order in range(1, band + 1):
            signed = (-1) ** order * math.sqrt(2) * values[band, order]
            real[:, middle - order] = signed.imag
            real[:, middle + order] = signed.real
    return real


def by_closed_form(lonlat: np.ndarray) -> np.ndarray:
    """Work each column out by itself, the way SatCLIP (Klemmer et al. 2023) does.

    Its Condon-Shortley sign is left out, to agree with the others. In float32 its
    factorials overflow.
    """
    degrees = torch.from_numpy(lonlat)
    phi, theta = torch.deg2rad(degrees[:, 0] + 180), torch.deg2rad(degrees[:, 1] + 90)
    columns = [
        column(band, order, phi, theta)
        for band in range(DEGREE)
        for order in range(-band, band + 1)
    ]
    return torch.stack(columns, dim=-1).numpy()


def column(
    band: int, order: int, phi: torch.Tensor, theta: torch.Tensor
) -> torch.Tensor:
    """Give one real harmonic at every point."""
    m = abs(order)
    factorials = math.factorial(band - m) / math.factorial(band + m)
    norm = math.sqrt((2 * band + 1) * factorials / (4 * math.pi))
    legendre = legendre_polynomial(band, m, torch.cos(theta))
    if order == 0:
        return norm * legendre
    wave = torch.sin(m * phi) if order < 0 else torch.cos(m * phi)
    return math.sqrt(2) * norm * wave * legendre


def legendre_polynomial(band: int, order: int, x: torch.Tensor) -> torch.Tensor:
    """Climb from the sector (band = order) to the band, for this column alone."""
    legendre = torch.ones_like(x)
    sine = torch.sqrt((1 - x) * (1 + x))
    for i in range(order):
        legendre = legendre * (2 * i + 1) * sine
    before = torch.zeros_like(x)
    for step in range(order, band):
        up = (2 * step + 1) * x * legendre - (step + order) * before
        before, legendre = legendre, up / (step - order + 1)
    return legendre


def exact(lonlat: np.ndarray) -> np.ndarray:
    """Evaluate the definition with 50 digits."""
    with mpmath.workdps(50):
        return np.array([exact_row(*map(mpmath.mpf, place)) for place in lonlat])


def exact_row(lon: mpmath.mpf, lat: mpmath.mpf) -> np.ndarray:
    """Give all harmonics of one place, from the explicit sum over powers."""
    phi, theta = mpmath.radians(lon + 180), mpmath.radians(lat + 90)
    x, row = mpmath.cos(theta), np.empty(DEGREE**2)
    for band in range(DEGREE):
        middle = band * (band + 1)
        for m in range(band + 1):
            total = mpmath.fsum(
                (-1) ** k
                * mpmath.binomial(band, k)
                * mpmath.binomial(2 * band - 2 * k, band)
                * mpmath.ff(band - 2 * k, m)
                * x ** (band - 2 * k - m)
                for k in range((band - m) // 2 + 1)
            )
            factorials = mpmath.factorial(band - m) / mpmath.factorial(band + m)
            both = 2 if m else 4  # order 0 has one part instead of two
            norm = mpmath.sqrt((2 * band + 1) * factorials / (both * mpmath.pi))
            value = norm * mpmath.sin(theta) ** m * total / mpmath.mpf(2) ** band
            row[middle - m] = value * mpmath.sin(m * phi)
            row[middle + m] = value * mpmath.cos(m * phi)
    return row


def in_blocks(side: Side, lonlat: np.ndarray) -> None:
    """Call a side block by block; ours writes into one array again and again."""
    block = LARGE_BLOCK if side is by_closed_form else BLOCK
    reused = {}
    if isinstance(side, partial):
        dtype = side.keywords.get("dtype", np.float64)
        reused["out"] = np.empty((block, DEGREE * DEGREE), dtype)
    for start in range(0, len(lonlat), block):
        side(lonlat[start : start + block], **reused)


def check(sides: dict[str, Side]) -> None:
    """Stop unless all sides agree; print how far each is from 50 digits."""
    lonlat = np.array(PLACES)
    expected = exact(lonlat)
    heads = [f"{lat:g}° N" for _, lat in PLACES]
    print(f"Largest error at degree {DEGREE}, from 50 digits:\n")
    print(f"| side | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
    for name, side in sides.items():
        error = np.abs(side(lonlat) - expected).max(axis=1)
        print(f"| {name} | {' | '.join(f'{e:.0e}' for e in error)} |")
        if not error.max() < ERROR:
            raise SystemExit(f"{name} is {error.max():.1e} away from 50 digits.")
    print()


def compare(
    sides: dict[str, Side], peer: str, points: int, repeats: int
) -> dict[str, float]:
    """Measure our sides and a peer on the same points; give the ratios to ours."""
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, points)))
    lonlat = np.column_stack([rng.uniform(-180, 180, points), lat])
    ours = [name for name in sides if name.startswith("ours")]
    work = {n: partial(in_blocks, sides[n], lonlat) for n in [*ours, peer]}
    _, costs = in_turn(work, repeats)
    print(f"{points:,} points:\n")
    print_costs(costs)
    for name, runs in costs.items():
        rate = points / median(cost.cpu for cost in runs)
        print(f"{name}: {rate:,.0f} points a CPU second")
    print()
    return {name: ratio(costs[peer], costs[name]) for name in ours}


def main() -> None:
    """Check, measure and compare."""
    quick = quick_mode(__doc__)
    torch.set_num_threads(1)
    sides: dict[str, Side] = {
        "ours, float32": partial(spherical_harmonics, degree=DEGREE, dtype=np.float32),
        "ours, float64": partial(spherical_harmonics, degree=DEGREE),
        "scipy": by_scipy,
        "closed form": by_closed_form,
    }
    check(sides)
    repeats = 5 if quick else 9
    scipy = compare(sides, "scipy", 4 * BLOCK, repeats)
    closed = compare(sides, "closed form", LARGE_BLOCK, repeats)
    print_ratio("harmonics_scipy", scipy["ours, float64"], 30)
    print_ratio("harmonics_float32", closed["ours, float32"], 50)
    print_ratio("harmonics", closed["ours, float64"], 50)


if __name__ == "__main__":
    main()
