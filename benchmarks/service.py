"""A hundred clients ask the HTTP service at once: how long they wait, and what is lost.

`python -m benchmarks.service` starts the service in a process of its own on this
computer, and asks every address for a minute. A request is lost when it gets no answer
or another one than 200.
"""

import argparse
import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h3
import httpx
import numpy as np

from mora.embeddings import Embeddings, read_embeddings
from mora.geometry import cells_at
from mora.tokens import H3Tokens

PLACES, DIM = 17_000, 128
CLIENTS, SECONDS, QUICK_SECONDS = 100, 60.0, 10.0
START_SECONDS = 120.0
# Rates are for one client each; here all clients have one address.
SERVER = """
import sys
from mora.serve import Limits
from mora.serve.server import serve
serve(sys.argv[1], port=int(sys.argv[2]), limits=Limits(per_second=1e9, burst=10**9))
"""

Question = tuple[str, str, dict[str, Any] | None]
Waits = dict[str, list[float]]


def main() -> None:
    """Start, ask, print a table and how many requests were lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a run; by default made up")
    parser.add_argument("--quick", action="store_true", help="ten seconds")
    given = parser.parse_args()
    seconds = QUICK_SECONDS if given.quick else SECONDS
    with TemporaryDirectory() as folder:
        run = given.run or make_run(Path(folder))
        questions = make_questions(read_embeddings(run / "embeddings.parquet"))
        with served(run) as address:
            waits, lost = asyncio.run(ask(address, questions, seconds))
    print("| address | requests | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, times in waits.items():
        p50, p99 = np.percentile(times, [50, 99]) * 1000
        print(f"| {name} | {len(times)} | {p50:.0f} | {p99:.0f} |")
    done = sum(map(len, waits.values()))
    print(
        f"\n{CLIENTS} clients, {seconds:.0f} s: {done / seconds:.0f} requests a second"
    )
    met = "yes" if not lost else "no"
    print(f"RATIO name=service_lost value={len(lost)} goal=0 met={met}", flush=True)
    for reason in sorted(set(lost))[:3]:
        print(f"lost: {reason}")


def make_run(folder: Path) -> Path:
    """Write places around Paris with vectors by chance."""
    middle = int(cells_at(np.array([[2.35, 48.86]]), 7)[0])
    rings = int(np.ceil(np.sqrt(PLACES / 3)))
    cells = h3.grid_disk(h3.int_to_str(middle), rings)[:PLACES]
    tokens, rng = H3Tokens.from_cells(cells), np.random.default_rng(0)
    vectors = rng.normal(size=(len(tokens), DIM)).astype(np.float32)
    Embeddings(tokens, vectors).write(folder / "embeddings.parquet")
    return folder


def make_questions(embeddings: Embeddings) -> dict[str, Question]:
    """Give one question for each address."""
    names, middles = embeddings.tokens.names(), embeddings.tokens.centroids()
    west, south = middles.min(axis=0).tolist()
    east, north = np.median(middles, axis=0).tolist()
    similar = {"plus": names[:2], "minus": names[2:3], "k": 10}
    box = {"bbox": [west, south, east, north]}
    return {
        "/embed points": ("POST", "/embed", {"points": middles[:10].tolist()}),
        "/embed places": ("POST", "/embed", {"tokens": names[:10]}),
        "/similar": ("POST", "/similar", similar),
        "/similar within": ("POST", "/similar", {**similar, "within": box}),
        "/meta": ("GET", "/meta", None),
        "/health": ("GET", "/health", None),
    }


@contextlib.contextmanager
def served(run: Path) -> Iterator[str]:
    """Start the service, wait for it, and stop it in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(run), str(port)]
    process, address = subprocess.Popen(command), f"http://127.0.0.1:{port}"
    try:
        wait_for(process, address)
        yield address
    finally:
        process.terminate()
        code = process.wait(30)
        print(f"stopped with code {code}")


def wait_for(process: subprocess.Popen, address: str) -> None:
    """Wait until the service answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"the service did not start within {START_SECONDS:.0f} s")


async def ask(
    address: str, questions: dict[str, Question], seconds: float
) -> tuple[Waits, list[str]]:
    """Let all clients ask, each one question after the other, until time is up."""
    waits: Waits = {name: [] for name in questions}
    lost: list[str] = []
    end = time.monotonic() + seconds
    bounds = httpx.Limits(max_connections=CLIENTS)

    async def client(number: int, http: httpx.AsyncClient) -> None:
        names, asked = list(questions), number
        while time.monotonic() < end:
            name = names[asked % len(names)]
            method, path, body = questions[name]
            begun, asked = time.perf_counter(), asked + 1
            try:
                response = await http.request(method, path, json=body)
            except httpx.HTTPError as error:
                lost.append(f"{name}: {type(error).__name__}")
                continue
            waits[name].append(time.perf_counter() - begun)
            if response.status_code != 200:
                lost.append(f"{name}: {response.status_code} {response.text[:200]}")

    async with httpx.AsyncClient(base_url=address, timeout=60, limits=bounds) as http:
        await asyncio.gather(*(client(number, http) for number in range(CLIENTS)))
    return waits, lost


if __name__ == "__main__":
    main()
