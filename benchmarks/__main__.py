"""Run every benchmark and write ``benchmarks/RESULTS.md``.

``python -m benchmarks [--quick] [NAME ...]``; names that are left out keep the
section they have in the file.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAMES = (
    "covisits",
    "line_closed_form",
    "line_sampled",
    "line_scale",
    "propagation",
    "contrastive",
    "training_step",
    "harmonics",
    "distill_inference",
    "geobleu",
    "service",
    "throughput",
    "big_files",
    "pipeline",
)
PACKAGES = ("numpy", "scipy", "numba", "torch", "duckdb", "ensmallen")
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Run the named benchmarks, all by default; fail if one of them does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {sorted(unknown)}; expected some of {NAMES}")
    sections, failed = read_sections(), []
    for name in options.names or NAMES:
        flags = ["--quick"] if options.quick else []
        text, worked = run(name, flags)
        sections[name] = text
        write_results(sections)
        failed += [] if worked else [name]
    print(f"\nwrote {RESULTS}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, flags: list[str]) -> tuple[str, bool]:
    """Run one benchmark in a process of its own, showing what it prints."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *flags]
    print(f"\n== {name}", flush=True)
    begun = time.monotonic()
    done = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    for line in done.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    seconds = time.monotonic() - begun
    call = " ".join(["python", "-m", f"benchmarks.{name}", *flags])
    head = f"## {name}\n\n`{call}`, {seconds:.0f} s, {time.strftime('%Y-%m-%d')}\n"
    worked = done.wait() == 0
    note = "" if worked else "\nFAILED\n"
    return head + note + "\n" + "\n".join(lines).strip() + "\n", worked


def read_sections() -> dict[str, str]:
    """Give the sections that stand in the file."""
    if not RESULTS.exists():
        return {}
    parts = re.split(r"^(?=## )", RESULTS.read_text(), flags=re.MULTILINE)
    found = {part.split()[1]: part.strip() + "\n" for part in parts[1:]}
    return {name: found[name] for name in NAMES if name in found}


def write_results(sections: dict[str, str]) -> None:
    """Write the machine, a table of all goals, and the sections in their order."""
    rows = []
    for name in NAMES:
        for line in re.findall(r"^RATIO (.*)$", sections.get(name, ""), re.MULTILINE):
            rows.append(f"| {' | '.join(p.split('=')[1] for p in line.split())} |")
    table = ["| ratio | value | goal | met |", "|---|---|---|---|", *rows]
    head = (
        f"# Benchmarks\n\nWritten by `make bench`. Ratios are the peer's cost by ours, "
        f"the median of pairs run in turn; above is better. CPU seconds unless said "
        f"otherwise, because they bear a busy machine.\n\n{machine()}\n\n"
    )
    body = "\n".join(sections[name] for name in NAMES if name in sections)
    RESULTS.write_text(head + "\n".join(table) + "\n\n" + body)


def machine() -> str:
    """Describe the processor, the memory and the packages."""
    cpu = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        cpu = found[1] if found else cpu
        kb = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
        memory = f"{int(kb[1]) / 1e6:.0f} GB" if kb else "unknown memory"
    except OSError:
        memory = "unknown memory"
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    cores = os.cpu_count()
    return f"Machine: {cpu}, {cores} cores, {memory}. {', '.join(versions)}."


if __name__ == "__main__":
    main()
