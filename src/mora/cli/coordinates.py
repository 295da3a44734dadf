"""Subcommands that make an encoder of coordinates, and use it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mora.cli.app import app
from mora.cli.options import Json, print_json, split_names, stoppable

Run = Annotated[Path, typer.Argument(help="Folder of a finished run, runs/NAME.")]
Model = Annotated[
    Path, typer.Option(help="Distilled encoder: a folder, or the released file.")
]
Threads = Annotated[int, typer.Option(min=1, help="That share the places.")]


@app.command("distill")
@stoppable
def distill_command(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(help="Folder of the encoder; RUN/distilled.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with `distill:` and `training:`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most.")] = None,
    as_json: Json = False,
) -> None:
    """Distil a run into a network: coordinates in, vectors out, anywhere."""
    from mora.distill.training import distill
    from mora.embeddings import read_embeddings
    from mora.pipeline.display import Display, Terminal
    from mora.pipeline.distilling import read_distilling

    given = read_distilling(config, epochs)
    folder = to or run / "distilled"
    display = Display() if as_json else Terminal()
    with display.bar("Distilling", "steps") as progress:
        report = distill(
            read_embeddings(run / "embeddings.parquet"),
            given.distill,
            given.training,
            folder,
            progress,
        )
    if as_json:
        print_json(report)
        return
    display.say(report.to_markdown())
    display.say(f"wrote {folder}")


@app.command("encode")
@stoppable
def encode_command(
    model: Model,
    points: Annotated[
        Path | None, typer.Argument(help="CSV or Parquet with lon and lat.")
    ] = None,
    polygon: Annotated[
        Path | None, typer.Option(help="GeoJSON whose cells are encoded instead.")
    ] = None,
    resolution: Annotated[
        int, typer.Option(min=0, max=15, help="H3 level of the cells in a polygon.")
    ] = 6,
    to: Annotated[
        Path | None, typer.Option(help="CSV or Parquet; beside the input by default.")
    ] = None,
    lon: Annotated[str, typer.Option(help="Column of longitudes.")] = "lon",
    lat: Annotated[str, typer.Option(help="Column of latitudes.")] = "lat",
    keep: Annotated[
        str | None, typer.Option(help="Columns to keep, with commas between them.")
    ] = None,
    on_invalid: Annotated[
        str, typer.Option(help="raise, or nan for places that are not on Earth.")
    ] = "raise",
    threads: Threads = 1,
) -> None:
    """Write the vectors of points, or of all cells in a polygon."""
    from mora.distill.coordinate_encoder import CoordinateEncoder
    from mora.errors import ConfigError
    from mora.pipeline.display import Terminal
    from mora.pipeline.distilling import encode_polygons, encode_table

    if (points is None) == (polygon is None):
        raise ConfigError("expected either a table of points or --polygon FILE.")
    encoder, display = CoordinateEncoder.load(model), Terminal()
    with display.bar("Encoding", "places") as progress:
        options: dict[str, Any] = {"threads": threads, "progress": progress}
        if points is not None:
            target = to or points.with_suffix(".vectors.parquet")
            named = {"lon": lon, "lat": lat, "keep": split_names(keep) or []}
            said = encode_table(encoder, points, target, on_invalid, named, options)
        else:
            assert polygon is not None
            target = to or polygon.with_suffix(f".h3-{resolution}.parquet")
            said = encode_polygons(encoder, polygon, resolution, target, options)
    display.say(said)


@app.command("onnx")
def onnx_command(
    model: Model,
    to: Annotated[Path, typer.Argument(help="The .onnx file.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Also write a copy with layers of int8.")
    ] = False,
) -> None:
    """Write a distilled encoder as ONNX, harmonics inside, and measure its error."""
    from mora.distill import load
    from mora.distill.onnx_export import export_onnx, quantise_onnx

    network = load(model)
    typer.echo(f"wrote {to}: {export_onnx(network, to)}")
    if int8:
        small = to.with_suffix(".int8.onnx")
        typer.echo(f"wrote {small}: {quantise_onnx(to, small, network)}")
