"""The command: run suites, print rows as they come, write results, update README's table."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import click
import machine
import report
from compare import FULL, QUICK, Case, Effort, Row, measure
from suites import SUITES, page, suite

HERE = Path(__file__).parent
ROOT = HERE.parent

# The package of this checkout is measured, in processes that are started too.
sys.path.insert(1, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@click.command()
@click.option(
    "--suite", "chosen", type=click.Choice(SUITES), multiple=True, help="Only this; may be repeated."
)
@click.option("--quick", is_flag=True, help="A minute instead of ten; README is left as it is.")
def main(chosen: tuple[str, ...], quick: bool) -> None:
    """Compare streamgd with river, scikit-learn and Vowpal Wabbit on this machine.

    Exit code 1 when results were not equal or a suite did not run; a slow row is no failure.
    """
    effort = QUICK if quick else FULL
    results = HERE / "results" / "quick" if quick else HERE / "results"
    failed = 0
    for name in chosen or SUITES:
        start = time.perf_counter()
        found = machine.describe()
        machine.pin()
        rows = []
        for row in measured(name, effort):
            click.echo(report.line(vars(row)))
            rows.append(row)
        failed += sum(bool(row.failed) for row in rows)
        report.write(results, name, found, rows, page(name))
        click.echo(f"{name}: {time.perf_counter() - start:.0f} s, {results / name}.md")
    if not quick and not report.update_readme(ROOT / "README.md", results, SUITES):
        click.echo(f"README.md was left as it is: it has no {report.BEGIN} ... {report.END}")
    if failed:
        click.echo(f"{failed} rows failed", err=True)
        sys.exit(1)


def measured(name: str, effort: Effort) -> Iterator[Row]:
    """Yield a suite's rows. A row that fails says so in its place, and the next ones are measured."""
    label = name
    try:
        for item in suite(name)(effort):
            label = item.name
            yield item if isinstance(item, Row) else timed(item, effort)
    except Exception as error:
        yield Row(f"{name}, after {label}", "", failed=_explained(error))


def timed(case: Case, effort: Effort) -> Row:
    try:
        return measure(case, effort)
    except Exception as error:
        failed = _explained(error)
        return Row(case.name, case.unit, peer_name=case.peer_name, aim=case.aim, failed=failed)


def _explained(error: Exception) -> str:
    """Print where an error came from, and return its last line for the table."""
    traceback.print_exception(error)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error) else ''}"


if __name__ == "__main__":
    main()
