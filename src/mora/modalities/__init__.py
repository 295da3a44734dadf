"""What is given about places: POIs, imagery, demographics or any table, per token.

Each builder in :data:`MODALITIES` turns a table (imagery: rasters) into
:class:`Features`: one row per token, and which tokens have one.
"""

from mora.modalities.alphaearth import build_alphaearth
from mora.modalities.demographics import build_demographics
from mora.modalities.demographics40 import build_demographics40
from mora.modalities.features import MODALITIES, Features, modality, read_features
from mora.modalities.home_work import infer_commutes
from mora.modalities.imagery import build_imagery
from mora.modalities.poi import build_poi
from mora.modalities.population import count_age_sex, count_people
from mora.modalities.raster_sources import check_rasters
from mora.modalities.remote_clip import build_remote_clip
from mora.modalities.table import build_table
from mora.modalities.vectors import build_vectors

FROM_RASTERS = ("imagery", "remote_clip")
WITHOUT_TABLE = (
    *FROM_RASTERS,
    "vectors",
    "alphaearth",
)  # kinds that read files of their own

__all__ = [
    "FROM_RASTERS",
    "MODALITIES",
    "WITHOUT_TABLE",
    "Features",
    "build_alphaearth",
    "build_demographics",
    "build_demographics40",
    "build_imagery",
    "build_poi",
    "build_remote_clip",
    "build_table",
    "build_vectors",
    "check_rasters",
    "count_age_sex",
    "count_people",
    "infer_commutes",
    "modality",
    "read_features",
]
