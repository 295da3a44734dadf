"""What a configuration names and is not there is told before any work is done."""

import pytest
from tests.small_run import settings, write_city

from mora.errors import ConfigError, MissingColumnError
from mora.pipeline import run
from mora.pipeline.validation import validate_run


@pytest.fixture
def wrong(tmp_path):
    """The small city with one letter of a POI column wrong."""
    write_city(tmp_path)
    given = settings(tmp_path)
    (table,) = given["modalities"]["poi"]["inputs"]
    table["columns"]["name"] = "shop nmae"
    return given


def test_a_wrong_column_is_told_before_any_work(tmp_path, wrong):
    with pytest.raises(MissingColumnError, match=r"poi\.inputs\.0 .*'shop nmae'"):
        run(wrong, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_looks_at_the_columns_of_every_table(tmp_path, wrong):
    found = {check.name: check for check in validate_run(wrong).checks}
    assert found["columns of tables"].level == "error"
    assert "shop nmae" in str(found["columns of tables"])
    right = settings(tmp_path)
    found = {check.name: check for check in validate_run(right).checks}
    assert found["columns of tables"].level == "ok"


def test_an_unknown_encoder_of_texts_is_told_before_any_work(tmp_path):
    write_city(tmp_path)
    given = settings(tmp_path)
    given["modalities"]["poi"]["options"] = {"encoder": "hash"}
    with pytest.raises(ConfigError, match="no text encoder is called 'hash'"):
        run(given, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
