"""The fused export: what a place is, whom it exchanges people with, how it moves."""

from mora.fusion.content import content_basis
from mora.fusion.context import neighbour_means
from mora.fusion.fused import Fused, fuse
from mora.fusion.movement import movement_view
from mora.fusion.section import Section

__all__ = [
    "Fused",
    "Section",
    "content_basis",
    "fuse",
    "movement_view",
    "neighbour_means",
]
