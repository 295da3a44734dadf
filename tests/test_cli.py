import subprocess
import sys

import pytest
import yaml
from tests.small_run import (
    one_thread,  # noqa: F401 - a fixture for every test below
    settings,
    write_city,
)

from mora.pipeline import STAGES


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration file beside the city's tables."""
    folder = tmp_path_factory.mktemp("city")
    write_city(folder)
    (folder / "city.yaml").write_text(yaml.safe_dump(settings(folder)))
    return folder / "city.yaml"


def test_help_lists_one_subcommand_a_stage_in_order(mora):
    status, out, _ = mora("--help")
    listed = [line.split()[1] for line in out.splitlines() if line.startswith("│ ")]
    names = [word for word in listed if not word.startswith("--")]
    commands = [name for name in names if name in {"run", *(s.name for s in STAGES)}]
    assert status == 0
    assert commands == ["run", *(stage.name for stage in STAGES)]


def test_help_of_a_stage(mora):
    status, out, _ = mora("train", "--help")
    assert status == 0
    text = " ".join(out.split())
    assert "Align the modalities with mobility. Earlier stages are done first" in text
    assert "--folder" in text
    assert "--quiet" in text


def test_run_says_what_it_does(mora, config, tmp_path):
    status, out, err = mora("run", config, "--folder", tmp_path)
    assert (status, err) == (0, "")
    titles = [stage.title for stage in STAGES]
    assert [line for line in out.splitlines() if line in titles] == titles
    assert "91 h3 tokens" in out
    assert "R2, blocked splits" in out
    assert (tmp_path / "embeddings.parquet").is_file()
    status, out, err = mora("run", config, "--folder", tmp_path)
    assert out.splitlines() == [f"{title}: unchanged" for title in titles]


def test_a_stage_does_the_stages_before_it(mora, config, tmp_path):
    status, out, _ = mora("line", config, "--folder", tmp_path)
    assert status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "graph",
        "line",
    ]
    assert "LINE pre-encoding\n  done in" in out


def test_quiet_shows_nothing(mora, config, tmp_path):
    status, out, err = mora("graph", config, "--folder", tmp_path, "--quiet")
    assert (status, out, err) == (0, "", "")
    assert (tmp_path / "graph" / "manifest.json").is_file()


def test_the_folder_is_called_after_the_run(mora, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mora("graph", config, "--quiet")[0] == 0
    assert (tmp_path / "runs" / "city" / "graph" / "manifest.json").is_file()
    other = tmp_path / "other.yaml"
    given = yaml.safe_load(config.read_text())
    other.write_text(yaml.safe_dump(given | {"folder": "kept/here"}))
    assert mora("graph", other, "--quiet")[0] == 0
    assert (tmp_path / "kept" / "here" / "graph" / "manifest.json").is_file()


def test_a_mistake_ends_with_one_message(mora, config, tmp_path):
    faulty = tmp_path / "faulty.yaml"
    given = yaml.safe_load(config.read_text())
    faulty.write_text(yaml.safe_dump(given | {"traning": {}}))
    for arguments, message in (
        (("run", tmp_path / "nix.yaml"), "Error: configuration: no file at"),
        (("run", faulty), "unknown key 'traning'; did you mean 'training'?"),
        (("graph", faulty), "unknown key 'traning'; did you mean 'training'?"),
    ):
        status, out, err = mora(*arguments)
        assert (status, out) == (1, "")
        assert err.startswith("Error: ")
        assert message in err
        assert "Traceback" not in err


def test_a_mistake_in_a_table_ends_with_one_message(mora, config, tmp_path):
    given = yaml.safe_load(config.read_text())
    given["mobility"]["table"]["columns"]["user"] = "person"
    faulty = tmp_path / "faulty.yaml"
    faulty.write_text(yaml.safe_dump(given))
    status, _, err = mora("run", faulty, "--folder", tmp_path / "run")
    assert status == 1
    assert err.startswith("Error: ")
    assert "no column 'person'; the columns are 'user'" in err
    assert "Traceback" not in err


def test_an_unknown_option_is_told(mora, config):
    status, _, err = mora("run", config, "--fast")
    assert status == 2
    assert "No such option: --fast" in err


def test_an_interrupt_says_how_to_go_on(mora, config, tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("mora.pipeline.run", interrupted)
    status, _, err = mora("run", config, "--folder", tmp_path)
    assert status == 130
    assert err == "Stopped. Start the same command again to go on.\n"


def test_stages_before_training_do_not_wait_for_torch():
    code = "import sys, mora, mora.cli, mora.pipeline; print('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"
