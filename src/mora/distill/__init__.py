"""Coordinates in, vectors out: a small network that stands in for a table of places."""

from importlib import import_module
from typing import Any

# Loaded when first asked for: configuring does not wait for torch.
_HOME = {
    "CoordinateEncoder": "mora.distill.coordinate_encoder",
    "CoordinateTransformer": "mora.distill.transformer",
    "DistillConfig": "mora.distill.config",
    "DistillReport": "mora.distill.report",
    "DistilledModel": "mora.distill.network",
    "FastNetwork": "mora.distill.fast",
    "depth_and_width": "mora.distill.sweep",
    "distill": "mora.distill.training",
    "encode_area": "mora.distill.area_export",
    "encode_cells": "mora.distill.polygons",
    "encode_frame": "mora.distill.frames",
    "encode_points": "mora.distill.points",
    "encode_polygons": "mora.distill.polygons",
    "export_onnx": "mora.distill.onnx_export",
    "load": "mora.distill.saved",
    "measure_onnx": "mora.distill.onnx_export",
    "quantise_onnx": "mora.distill.onnx_export",
    "read_polygons": "mora.distill.polygons",
    "save": "mora.distill.saved",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'mora.distill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
