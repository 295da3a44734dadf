"""The medoid as slow, obvious loops."""

import math

import numpy as np

WEEKEND = (0, 6)


def weigh(visits, day, slot, options, slots_a_day=48):
    """Give the share of each visited cell; ``visits`` are (day, slot, token)."""
    weights = {}
    for then, time, token in visits:
        apart = abs(slot - time)
        if options.circular:
            apart = min(apart, slots_a_day - apart)
        weight = math.exp(-0.5 * (apart / options.slot_width) ** 2)
        weight *= options.decay ** abs(day - then)
        if (day % 7 in WEEKEND) == (then % 7 in WEEKEND):
            weight *= options.same_day_type
        if day % 7 == then % 7:
            weight *= options.same_weekday
        weights[token] = weights.get(token, 0.0) + weight
    total = sum(weights.values())
    return {token: weights[token] / total for token in sorted(weights)}


def decode(weights, plane, beta, candidates=None):
    """Give the candidate nearest in expectation."""

    def nearness(option):
        return sum(
            weight * math.exp(-beta * np.linalg.norm(plane[cell] - plane[option]))
            for cell, weight in weights.items()
        )

    return max(weights if candidates is None else candidates, key=nearness)


def visits_of(events, user):
    rows = range(*events.offsets[user : user + 2])
    return [(events.day[i], events.slot[i], events.token[i]) for i in rows]
