"""The comparison of objectives: its variants, what it may look at, and its table."""

import pytest
from benchmarks.objectives import REFERENCE, TASKS, main, settings_of, table, variants


def weights(variant):
    objectives = settings_of(variant, 0, quick=False).objectives
    return {n: getattr(objectives, n).weight for n in type(objectives).model_fields}


def test_each_alone_all_and_all_but_one():
    found = {variant.name: weights(variant) for variant in variants()}
    assert next(iter(found)) == REFERENCE
    everything = found["all"]
    for name in everything:
        assert found[name] == dict.fromkeys(everything, 0) | {name: 1}
        assert found[f"all but {name}"] == everything | {name: 0}
    assert len(found) == 2 * len(everything) + 3


def test_no_other_label_is_read():
    for variant in variants():
        (labels,) = settings_of(variant, 3, quick=True).evaluation.labels
        assert sorted(labels.values) == sorted(TASKS)


def test_all_variants_have_the_same_epochs_and_the_seed():
    for quick, epochs in ((True, 5), (False, 100)):
        found = [settings_of(variant, 3, quick) for variant in variants()]
        assert {config.training.epochs for config in found} == {epochs}
        assert {config.seed for config in found} == {3}
        assert {config.evaluation.protocols for config in found} == {("blocked",)}


def test_table_by_hand():
    def one(variant, seed, r2):
        return {
            "variant": variant,
            "seed": seed,
            "cpu_seconds": 10.0,
            "epochs": 5,
            "test_ratio": 0.25,
            "r2": {"ridge": [[r2, r2], [r2, r2]]},
        }

    runs = [one(REFERENCE, 0, 0.2), one(REFERENCE, 1, 0.4), one("flow", 1, 0.5)]
    lines = table(runs).splitlines()
    assert lines[2] == f"| {REFERENCE} | 2 | 0.300 ± 0.141 |  | 5 | 10 |"
    # Paired with the same seed: 0.5 - 0.4.
    assert lines[3] == "| flow | 1 | 0.500 | +0.100 ± 0.000 | 5 | 10 |"


def test_folders_of_variants_differ():
    folders = [variant.folder for variant in variants()]
    assert len(set(folders)) == len(folders)


def test_unknown_variants_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["objectives", "--only", "vicregg"])
    with pytest.raises(SystemExit):
        main()
    assert "no variant vicregg; expected some of contrastive" in capsys.readouterr().err
