"""A small service to ask, and a way to ask it without a network."""

import asyncio

import h3
import httpx
import numpy as np

from mora.embeddings import Embeddings
from mora.explore.words import WordSearch
from mora.modalities import Features
from mora.modalities.text import HashingEncoder
from mora.tokens import H3Tokens, ZoneTokens

MIDDLE = (48.86, 2.35)  # latitude, longitude


def of_cells(rings=3, dim=4):
    """37 cells around Paris, with people."""
    cells = h3.grid_disk(h3.latlng_to_cell(*MIDDLE, 6), rings)
    tokens, rng = H3Tokens.from_cells(cells), np.random.default_rng(0)
    vectors = rng.normal(size=(len(tokens), dim)).astype(np.float32)
    people = np.arange(len(tokens)) + 1.0
    notes = {"run": "paris", "notes": ["By hand."]}
    return Embeddings(tokens, vectors, people, notes)


def of_names():
    """Three zones that are nowhere."""
    tokens = ZoneTokens.from_zones(["a", "b", "c"])
    vectors = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    return Embeddings(tokens, vectors)


class Encoder:
    """Gives a point its own coordinates, four wide."""

    def encode(self, lonlat):
        return np.column_stack([lonlat, lonlat]).astype(np.float32)


def with_words(places=37):
    """Bakeries and depots in turn; nothing is known of the first place."""
    encoder = HashingEncoder(8)
    texts = [["bakery", "depot"][row % 2] for row in range(places)]
    features = Features.from_values(
        encoder.encode(texts),
        np.arange(places) > 0,
        [f"name {i}" for i in range(8)],
        {"encoder": encoder.name},
    )
    busy = np.arange(places, dtype=np.float64)
    return WordSearch(encoder, features, lambda rows: rows[:, :4], movement=busy)


def ask(app, method, path, host="127.0.0.1", **request):
    """Send one request, as from an address of its own."""
    return ask_all(app, [(method, path)], host, **request)[0]


def ask_all(app, questions, host="127.0.0.1", **request):
    """Send requests at the same time."""

    async def send():
        transport = httpx.ASGITransport(app, False, client=(host, 1))
        address = request.pop("address", "http://127.0.0.1:8000")
        async with httpx.AsyncClient(transport=transport, base_url=address) as client:
            sent = [client.request(*question, **request) for question in questions]
            return await asyncio.gather(*sent)

    return asyncio.run(send())


def problem(response, status):
    """Check that a response tells a problem, and give what it says."""
    assert response.status_code == status, response.text
    said = response.json()
    assert set(said) == {"error", "expected", "do"}
    return " | ".join(said.values())
