import numpy as np
import pytest

from mora import memory
from mora.errors import MoraError
from mora.memory import available_gb, peak_mb, require_memory, reset_peak

needs_linux = pytest.mark.skipif(
    not memory.STATUS.exists(), reason="this system does not tell its memory use"
)


def test_work_that_fits_passes():
    require_memory(0, "nothing")
    require_memory(2.0e9, "an even fit", limit_gb=2.0)


def test_too_little_memory_is_named():
    message = r"LINE needs about 3\.00 GB; 2\.50 GB is allowed by memory_gb\. Raise"
    with pytest.raises(MoraError, match=message):
        require_memory(3e9, "LINE", limit_gb=2.5)
    with pytest.raises(MemoryError, match=r"1000000000\.00 GB; [\d.]+ GB is free"):
        require_memory(1e18, "everything")


@needs_linux
def test_free_memory_is_more_than_none():
    assert 0 < available_gb() < 1e6


@needs_linux
def test_peak_is_seen_after_the_memory_is_given_back():
    before = reset_peak()
    big = np.ones(25_000_000)  # 200 MB
    del big
    assert 150 < peak_mb() - before < 400
    assert reset_peak() < before + 100
    assert peak_mb() - before < 100


def test_unknown_memory_is_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert np.isnan(peak_mb())
