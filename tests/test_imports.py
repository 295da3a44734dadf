"""Who may import whom, and what importing Mora costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mora

ROOT = Path(mora.__file__).parent
# The order in which data flows through the package: imports go only downwards.
ORDER = [
    *["errors", "personal", "kernels", "memory", "progress", "config", "geometry"],
    *["harmonics", "nearest", "likeness", "tables", "tokens", "sources", "graph"],
    *["line", "modalities", "fusion", "training", "encoder", "embeddings"],
    *["distill", "baselines"],
    *["benchmark", "trajectories", "explore", "publish", "serve", "pipeline"],
    *["experiments", "cli"],
]
SLOW = ["torch", "pandas", "numba", "lightgbm", "sklearn", "scipy"]


def part(path):
    """Name the part of the package a file belongs to; "" for its front door."""
    return path.relative_to(ROOT).with_suffix("").parts[0].replace("__init__", "")


def imports(path):
    """List the modules of Mora that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno} imports relatively"
            # In `from mora import tokens`, the name is the module.
            whole = node.module == "mora"
            names = [f"mora.{a.name}" if whole else node.module for a in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "mora":
                yield node.lineno, [*name.split("."), ""][1]


FILES = sorted(ROOT.rglob("*.py"))


def test_every_part_has_its_place_in_the_order():
    parts = {part(path) for path in FILES} - {"", "__main__"}
    assert parts <= set(ORDER), f"not in the order: {sorted(parts - set(ORDER))}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_only_downwards(path):
    if part(path) in ("", "__main__"):
        return
    own = ORDER.index(part(path))
    for line, imported in imports(path):
        assert imported in ORDER, f"line {line} imports mora.{imported}, not a module"
        assert ORDER.index(imported) <= own, f"line {line} imports mora.{imported}"


def test_upward_imports_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "errors.py"
    path.write_text(
        "import mora.cli\nfrom mora import config\n"
        "def f():\n    from mora.graph.storage import read_graph\n"
    )
    assert list(imports(path)) == [(1, "cli"), (2, "config"), (4, "graph")]
    with pytest.raises(AssertionError, match=r"line 1 imports mora\.cli"):
        test_imports_go_only_downwards(path)


def test_importing_mora_is_cheap():
    code = f"import sys, mora; print([m for m in {SLOW} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_about_a_dozen_names_are_public_and_resolve():
    assert 8 <= len(mora.__all__) <= 15
    assert len(set(mora.__all__)) == len(mora.__all__)
    for name in mora.__all__:
        assert getattr(mora, name).__name__ == name
        assert name in dir(mora)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'mora' has no attribute 'runn'"):
        mora.runn  # noqa: B018
