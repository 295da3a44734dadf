"""The published folder: encoder, vectors, card, catalogue entry and checksums."""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import shapely

from mora.embeddings import Embeddings
from mora.publish.card import CardFacts, write_card
from mora.publish.stac import stac_item

if TYPE_CHECKING:  # torch is loaded when a folder is published
    from mora.distill.network import DistilledModel

SUMS, ITEM, PRIVACY = "SHA256SUMS", "stac.json", "privacy.json"
TABLE, ONNX = "embeddings.parquet", "model.onnx"


def write_whole(
    to: Path, facts: CardFacts, kept: Embeddings, model: "DistilledModel"
) -> None:
    """Write a folder beside its place, and put it there when it is whole.

    Args:
        to: its place; a folder that is there is replaced.
        facts: for the card.
        kept: places and vectors that are published.
        model: the distilled encoder.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as work:
        whole = Path(work) / "new"
        whole.mkdir()
        _write(whole, facts, kept, model)
        if to.exists():
            to.rename(Path(work) / "old")
        whole.rename(to)


def _write(
    folder: Path, facts: CardFacts, kept: Embeddings, model: "DistilledModel"
) -> None:
    from mora.distill import save

    config, provenance = facts.config, dict(kept.provenance)
    save(model, folder, provenance=provenance, card=write_card(facts))
    if config.embeddings:
        kept.write(folder / TABLE)
    if config.onnx:
        from mora.distill.onnx_export import export_onnx

        export_onnx(
            model,
            folder / ONNX,
            name=facts.name,
            licence=config.licence,
            provenance=provenance,
        )
    stages = [vars(stage) for stage in facts.stages]
    attacks = None if facts.attacks is None else facts.attacks.to_json()
    _write_json(folder / PRIVACY, {"stages": stages, "attacks": attacks})
    west, south, east, north = shapely.total_bounds(kept.tokens.polygons()).tolist()
    item = stac_item(
        facts.name,
        facts.title,
        (west, south, east, north),
        config.period,
        config.licence,
        sorted(file.name for file in folder.iterdir()),
    )
    _write_json(folder / ITEM, item)
    sums = [f"{_sha256(file)}  {file.name}" for file in sorted(folder.iterdir())]
    (folder / SUMS).write_text("\n".join(sums) + "\n")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
