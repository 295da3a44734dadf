"""What a distilled encoder is told: its inputs, its layers, its loss, its tests."""

from typing import Annotated, Literal

from pydantic import Field

from mora.config import TrainingConfig
from mora.config.section import Section

Convention = Literal["orthonormal", "mora_released_analytic"]
Wavelength = Annotated[float, Field(gt=0)]

# The rate had the lowest validation loss of 0.0003, 0.001 and 0.005 (2,500 cells, 25
# epochs, one seed); the paper has a constant rate of 0.005 for 5,000 epochs.
DISTILL_TRAINING = TrainingConfig(
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    batch_size=512,
    epochs=100,
    patience=100,
    schedule="cosine",
    warmup=0.02,
    clip_norm=1.0,
)


class DistillConfig(Section):
    """The distilled encoder; the defaults give the network of the paper.

    Source: MoRA, the distilled model. The paper holds nothing out, and has neither
    standardised targets, cosine loss, weights of cells nor waves.

    Attributes:
        degree: bands of spherical harmonics; 32 gives the 1,024 inputs of the paper. A
            band of degree l turns over every 40,000 / l km.
        convention: orthonormal harmonics, or those of the released weights.
        wavelengths_km: of finer inputs beside the harmonics, such as (400, 100); none
            in the paper.
        waves: random directions of each wavelength; each gives a sine and a cosine.
        width: of the hidden layers.
        depth: number of hidden layers.
        dtype: of the weights while they are trained; the paper has float64.
        standardise: train on vectors with mean 0 and deviation 1 in each dimension;
            the last layer takes them back.
        loss: mean squared error, or with 1 - cosine added to it.
        cosine_weight: of 1 - cosine.
        cell_weights: cells count alike, or by their area.
        protocol: what is held out to be tested on: cells at random, whole blocks, or
            some of each.
        held_out_share: part of the cells that each kind of test takes.
        block_degrees: side of a block on the lon/lat grid.
        block_resolution: H3 level whose cells are the blocks, in place of squares.
        refit: after the test, train a new network on all cells and keep that.
        seed: of weights, waves, batches and what is held out.
    """

    degree: int = Field(32, ge=1, le=128)
    convention: Convention = "orthonormal"
    wavelengths_km: tuple[Wavelength, ...] = ()
    waves: int = Field(64, ge=1)
    width: int = Field(512, ge=1)
    depth: int = Field(8, ge=1)
    dtype: Literal["float32", "float64"] = "float32"
    standardise: bool = True
    loss: Literal["mse", "cosine+mse"] = "mse"
    cosine_weight: float = Field(1.0, gt=0)
    cell_weights: Literal["equal", "area"] = "equal"
    protocol: Literal["random", "blocked", "both"] = "both"
    held_out_share: float = Field(0.1, gt=0, le=0.4)
    block_degrees: float = Field(1.0, gt=0, le=180)
    block_resolution: int | None = Field(None, ge=0, le=15)
    refit: bool = False
    seed: int = Field(0, ge=0)
