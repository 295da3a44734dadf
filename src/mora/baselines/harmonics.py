"""The harmonics of :mod:`mora.harmonics`, where baselines look for them."""

from mora.harmonics import spherical_harmonics

__all__ = ["spherical_harmonics"]
