"""Open data under our column names; each source is a function that gives a frame."""

from mora.sources.geonames import read_us_cities
from mora.sources.registry import SOURCES, read_source

__all__ = ["SOURCES", "read_source", "read_us_cities"]
