"""What is given about places: POIs, imagery, demographics or any table, per token.

Each builder in :data:`MODALITIES` turns a table (imagery: rasters) into
:class:`Features`: one row per token, and which tokens have one.
"""

from mora.modalities.demographics import build_demographics
from mora.modalities.features import MODALITIES, Features, modality, read_features
from mora.modalities.imagery import build_imagery
from mora.modalities.poi import build_poi
from mora.modalities.raster_sources import check_rasters
from mora.modalities.table import build_table

__all__ = [
    "MODALITIES",
    "Features",
    "build_demographics",
    "build_imagery",
    "build_poi",
    "build_table",
    "check_rasters",
    "modality",
    "read_features",
]
