"""Adds a study to the results: `python benchmarks/record_study.py FOLDER... --methods=soar_math,hard_only`.

Reads the workdirs in the folders, appends their pass@k on hard test problems to results.jsonl, and writes RESULTS.md.
On that page, a row replaces an older one of the same name. Date and commit are those of recording, not of the runs.
`python benchmarks/results_chart.py` then draws the chart.
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # for running this file by its path

from benchmarks import environment, results
from benchmarks.report import FOLDER, Section, SuiteReport
from soar_jax.errors import EXIT_BAD_INPUT, SettingsError, check_choice, require
from soar_jax.report import tables
from soar_jax.report.read import Run, read_runs
from soar_jax.report.scores import Group, Scores, group_runs, scores


def study_rows(groups: Sequence[Group], methods: Sequence[str]) -> Iterator[results.Row]:
    """Yields the rows of the report's table of hard test problems that belong to the methods."""
    for group, policy in tables.headline_policies(groups):
        ks = sorted(group.runs[0].config["evaluation"]["pass_at"]) if group.method in methods else []
        found = {k: passed for k in ks if (passed := scores(group, policy, test="hard_test", k=k))}
        if found:
            yield {
                "row": tables.policy_name(group, policy),
                "seeds": len(found[min(found)].by_seed),
                "student steps": tables.steps_text(group, policy),
                **{f"pass@{k}": _measured(passed) for k, passed in found.items()},
            }


def _measured(passed: Scores) -> dict[str, Any]:
    interval = passed.interval()
    by_seed = [float(np.mean(values)) for values in passed.by_seed.values()]
    return {"mean": interval.mean, "sd": interval.sd, "low": interval.low, "high": interval.high, "by_seed": by_seed}


def record(runs: Sequence[Run], methods: Sequence[str], command: str, folder: pathlib.Path = FOLDER) -> None:
    """Appends the rows of the methods to results.jsonl, and writes the page of results.

    Args:
      methods: those to record; empty: all.
      folder: the folder of the files.

    Raises:
      SettingsError: a method has no run, the runs are of several scales, or no policy was tested.
    """
    groups = group_runs(runs)
    known = tuple(dict.fromkeys(group.method for group in groups))
    for method in methods:
        check_choice("--methods", method, known)
    chosen = methods or known
    scales = sorted({str(run.config.get("scale")) for run in runs if run.method in chosen})
    require(len(scales) == 1, f"the runs are of several scales, {', '.join(scales)}; name the folder of one study")
    rows = list(study_rows(groups, chosen))
    require(bool(rows), f"no run of {', '.join(chosen)} has tested a policy; wait for the end of one")
    report = SuiteReport(
        suite=results.STUDY, command=command, environment=environment.describe(peer_versions={}), folder=folder
    )
    report.record(Section(title=f"{scales[0]}, {results.HARD_TEST}", rows=rows))
    results.write(folder)


def main() -> None:
    """Records a study; an error in the settings is one line on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+", type=pathlib.Path, help="a workdir, or a folder with workdirs")
    parser.add_argument("--methods", default="", help="methods to record, as in soar_math,hard_only; default: all")
    parser.add_argument("--command", default="", help="command that made the runs; default: this one")
    args = parser.parse_args()
    try:
        methods = [name for name in args.methods.split(",") if name]
        record(read_runs(args.folder), methods, args.command or shlex.join(["python", *sys.argv]))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    main()
