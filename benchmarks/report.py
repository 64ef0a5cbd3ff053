"""Results as Markdown and JSON, and the table in README."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compare import Row

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"

TIMED = (
    "Both sides give equal results before they are timed; the notes say how equal. They are then run in "
    "turn, A B A B, in one process pinned to one core, and the medians stand here. A ratio is how many times "
    "longer the peer takes. All is warm: compiled, and run once just before. Dicts, frames and files are "
    "made outside the time, conversion of arrays and frames within a call is inside. `streamgd train` and "
    "the two threads of Vowpal Wabbit have all cores, and the start of process or workspace is in the time."
)


def seconds_as_text(seconds: float | None) -> str:
    """Write a time in the unit that gives it one to three digits before the point."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def ratio_as_text(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def line(row: dict[str, Any]) -> str:
    """Write one row of a suite's table."""
    cells = [row["name"], "**FAILED**", row["peer_name"], "", row["aim"], row["failed"]]
    if not row["failed"]:
        cells[1] = f"{seconds_as_text(row['ours'])}/{row['unit']}" if row["unit"] else ""
        cells[2] = f"{row['peer_name']}: {seconds_as_text(row['peer'])}" if row["peer_name"] else ""
        cells[3] = ratio_as_text(row["ratio"])
        notes = [f"{key}: {value}" for key, value in row["figures"].items()]
        cells[5] = "; ".join(filter(None, [*notes, row["checked"]]))
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def machine_as_text(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; {versions}; "
        f"commit {machine['git']}, {machine['date'][:10]}."
    )


def write(
    folder: Path,
    suite: str,
    machine: dict[str, Any],
    rows: Iterable[Row],
    page: Callable[[str, list[Row]], str] | None = None,
) -> None:
    """Write one suite's results, by a page of its own where it has one."""
    rows = list(rows)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"suite": suite, "machine": machine, "rows": [asdict(row) for row in rows]}
    (folder / f"{suite}.json").write_text(as_json(result))
    begun = (
        f"{machine_as_text(machine)} Begun at {machine['date'][11:]} with load "
        f"{'/'.join(map(str, machine['load']))}."
    )
    if page is not None:
        (folder / f"{suite}.md").write_text(page(begun, rows))
        return
    head = [
        f"# {suite}",
        "",
        begun,
        "",
        f"`python benchmarks/run.py --suite {suite}`. {TIMED}",
        "",
        "| what | streamgd | peer | ratio | aim | notes |",
        "|---|---:|---:|---:|---|---|",
    ]
    table = map(line, result["rows"])
    (folder / f"{suite}.md").write_text("\n".join([*head, *table]) + "\n")


def update_readme(readme: Path, results: Path, suites: Iterable[str]) -> bool:
    """Replace what is between README's markers by the main rows; tell whether there was a place."""
    if not readme.exists():
        return False
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        return False
    found = [json.loads(p.read_text()) for s in suites if (p := results / f"{s}.json").exists()]
    readme.write_text(f"{before}{BEGIN}\n{readme_table(found)}\n{END}{after}")
    return True


def as_json(result: dict[str, Any]) -> str:
    """Write JSON to be read and compared by people: a line a value, but a list of numbers on one."""
    text = json.dumps(result, indent=1)
    numbers = re.compile(r"\[\s+(-?\d[^\]\[{}\"]*?)\s+\]")
    return numbers.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def readme_table(results: list[dict[str, Any]]) -> str:
    """Write the main rows of all suites, and where and when they were measured."""
    lines = ["| | streamgd | peer | times faster |", "|---|---:|---|---:|"]
    for row in (row for result in results for row in result["rows"]):
        if row["headline"] and not row["failed"]:
            peer = f"{row['peer_name']}: {seconds_as_text(row['peer'])}"
            ours = f"{seconds_as_text(row['ours'])}/{row['unit']}"
            lines.append(f"| {row['name']} | {ours} | {peer} | {ratio_as_text(row['ratio'])} |")
    machines = sorted({machine_as_text(result["machine"]) for result in results})
    notes = "Medians; both sides run in turn on one core (those of `fit` on all), after their results "
    notes += "were found equal. "
    notes += "Command: `python benchmarks/run.py`; all rows: `benchmarks/results/`. "
    return "\n".join([*lines, "", notes + " ".join(machines)])
