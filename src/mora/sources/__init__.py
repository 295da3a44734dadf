"""Open data -> tables; see ``mora sources``."""

from mora.sources.checkins import (
    read_tsmc2014_places,
    stream_brightkite,
    stream_gowalla,
    stream_tsmc2014,
)
from mora.sources.fetch import fetch
from mora.sources.fetchable import plan_of, read_plan
from mora.sources.foursquare import read_foursquare_places
from mora.sources.geo_labels import read_geo_labels
from mora.sources.geolife import stream_geolife
from mora.sources.geonames import read_us_cities
from mora.sources.humob import stream_humob
from mora.sources.kontur import read_kontur_population
from mora.sources.lodes import read_lodes, stream_lodes_blocks
from mora.sources.lodes_workers import read_lodes_workers
from mora.sources.manhattan import read_manhattan_flows, read_manhattan_regions
from mora.sources.mitma import read_mitma
from mora.sources.osm import read_osm_places
from mora.sources.overture import read_overture_places
from mora.sources.registry import (
    SOURCES,
    SourceEntry,
    list_sources,
    read_source,
    stream_source,
    write_source,
)
from mora.sources.tlc import read_tlc
from mora.sources.uk_od import read_uk_od
from mora.sources.viirs import read_viirs
from mora.sources.worldpop import find_age_sex_rasters, read_population_raster

__all__ = [
    "SOURCES",
    "SourceEntry",
    "fetch",
    "find_age_sex_rasters",
    "list_sources",
    "plan_of",
    "read_foursquare_places",
    "read_geo_labels",
    "read_kontur_population",
    "read_lodes",
    "read_lodes_workers",
    "read_manhattan_flows",
    "read_manhattan_regions",
    "read_mitma",
    "read_osm_places",
    "read_overture_places",
    "read_plan",
    "read_population_raster",
    "read_source",
    "read_tlc",
    "read_tsmc2014_places",
    "read_uk_od",
    "read_us_cities",
    "read_viirs",
    "stream_brightkite",
    "stream_geolife",
    "stream_gowalla",
    "stream_humob",
    "stream_lodes_blocks",
    "stream_source",
    "stream_tsmc2014",
    "write_source",
]
