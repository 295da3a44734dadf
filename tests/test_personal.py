"""Folders of personal data are marked and refused."""

import pytest

from mora.errors import MoraError, PersonalDataError
from mora.personal import MARKER, mark_personal, require_not_personal


def test_a_marked_folder_is_refused_with_all_that_is_in_it(tmp_path):
    folder = mark_personal(tmp_path / "users", "Vectors of users.")
    assert (folder / MARKER).read_text() == "Vectors of users."
    for path in (folder, folder / "vectors.parquet", folder / "deep" / "er"):
        with pytest.raises(PersonalDataError, match="holds data of single people"):
            require_not_personal(path)


def test_what_is_beside_it_is_not(tmp_path):
    mark_personal(tmp_path / "users", "")
    require_not_personal(tmp_path)
    require_not_personal(tmp_path / "embeddings.parquet")


def test_the_message_says_where_the_mark_is_and_what_to_do(tmp_path):
    folder = mark_personal(tmp_path / "users", "")
    with pytest.raises(MoraError, match=r"users/PERSONAL says so\).*Pool users over"):
        require_not_personal(folder / "x.npy")
