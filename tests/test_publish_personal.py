"""Nothing personal is published, on whatever way it comes in."""

import pytest
from tests.published_run import BRIEF, CONFIG, SMALL, write_run

from mora.errors import PersonalDataError
from mora.personal import MARKER, mark_personal
from mora.publish import publish
from mora.publish.run_files import REPORTS, STAGES, read_run_files

FILES = [
    "embeddings.parquet",
    "graph/edges",
    "graph/tokens.parquet",
    *(f"{stage}/manifest.json" for stage in STAGES),
    *REPORTS,
]


def refused(run, to, **options):
    with pytest.raises(PersonalDataError, match="holds data of single people"):
        publish(run, to, CONFIG, distillation=SMALL, training=BRIEF, **options)
    assert not to.exists() or not any(p.name != MARKER for p in to.iterdir())


def test_a_run_marked_as_personal(tmp_path):
    write_run(tmp_path / "run")
    mark_personal(tmp_path / "run", "Vectors of users.")
    refused(tmp_path / "run", tmp_path / "out")


def test_a_run_inside_a_personal_folder(tmp_path):
    mark_personal(tmp_path / "users", "")
    write_run(tmp_path / "users" / "run")
    refused(tmp_path / "users" / "run", tmp_path / "out")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_a_link_to_personal_data(tmp_path, name):
    write_run(tmp_path / "run")
    file = tmp_path / "run" / name
    secret = mark_personal(tmp_path / "users", "") / file.name
    if file.exists():
        file.rename(secret)
    else:
        secret.write_text("{}")
        file.parent.mkdir(exist_ok=True)
    file.symlink_to(secret)
    refused(tmp_path / "run", tmp_path / "out")


def test_an_encoder_of_people(tmp_path):
    write_run(tmp_path / "run", applied=5)
    encoder = mark_personal(tmp_path / "encoder", "")
    refused(tmp_path / "run", tmp_path / "out", encoder=encoder)


def test_an_encoder_whose_weights_are_a_link_to_personal_data(tmp_path):
    write_run(tmp_path / "run", applied=5)
    secret = mark_personal(tmp_path / "users", "") / "model.safetensors"
    secret.write_bytes(b"")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").symlink_to(secret)
    refused(tmp_path / "run", tmp_path / "out", encoder=tmp_path / "encoder")


def test_a_target_inside_a_personal_folder(tmp_path):
    write_run(tmp_path / "run")
    users = mark_personal(tmp_path / "users", "")
    refused(tmp_path / "run", users / "out")


def test_personal_data_beside_what_is_read_stays_there(tmp_path):
    write_run(tmp_path / "run")
    secret = mark_personal(tmp_path / "run" / "users", "") / "vectors.npy"
    secret.write_bytes(b"a person")
    assert read_run_files(tmp_path / "run").name == "city"
    config = CONFIG.model_copy(update={"attacks": False})
    brief = BRIEF.model_copy(update={"epochs": 1})
    publish(
        tmp_path / "run", tmp_path / "out", config, distillation=SMALL, training=brief
    )
    for file in (tmp_path / "out").iterdir():
        assert b"a person" not in file.read_bytes()
