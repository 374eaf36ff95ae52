"""Compute behind the rows of a report."""

import json
import shutil

import numpy as np

from soar_jax.report import costs
from soar_jax.report.read import read_runs
from tests.report.conftest import SKILL, write_run


def test_a_policy_of_a_search_costs_both(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    (run,) = read_runs([tmp_path])
    # 1 million tokens, 2 PFLOPs and 9 s of 2 devices itself; 5 million, 7 PFLOPs and 36 s of the search.
    np.testing.assert_allclose(costs.policy_cost(run, "curriculum"), [6, 9, 2 * 45 / 3600])
    np.testing.assert_allclose(costs.policy_cost(run, "base"), [1, 2, 2 * 9 / 3600])
    num_policies = len(SKILL["soar_math"])
    np.testing.assert_allclose(costs.run_cost(run.summary), [5 + num_policies, 7 + 2 * num_policies, 2 * 60 / 3600])


def test_finding_hard_problems_is_no_search(tmp_path):
    write_run(tmp_path / "run", "base_teacher", 0, num_steps=0)
    (run,) = read_runs([tmp_path])
    np.testing.assert_allclose(costs.policy_cost(run, "curriculum"), [6, 9, 2 * 9 / 3600])


def test_the_search_of_a_source_run_counts(tmp_path):
    write_run(tmp_path / "source", "soar_math", 0)
    write_run(tmp_path / "run", "grounded_teacher", 0, num_steps=0, source_run=str(tmp_path / "source"))
    (run,) = read_runs([tmp_path / "run"])
    np.testing.assert_allclose(costs.policy_cost(run, "curriculum"), [11, 16, 2 * 45 / 3600])
    shutil.rmtree(tmp_path / "source")  # what the run has noted is enough
    (run,) = read_runs([tmp_path / "run"])
    np.testing.assert_allclose(costs.policy_cost(run, "curriculum"), [11, 16, 2 * 45 / 3600])
    (tmp_path / "run" / "source_run.json").write_text("[]")
    (run,) = read_runs([tmp_path / "run"])
    assert np.isnan(costs.policy_cost(run, "curriculum")).all()


def test_what_earlier_versions_did_not_record_is_unknown(tmp_path):
    write_run(tmp_path / "run", "soar_math", 0)
    for path in (tmp_path / "run" / "summary.json", *(tmp_path / "run" / "results").iterdir()):
        row = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in row.items() if k not in ("num_flops", "num_devices")}))
    (run,) = read_runs([tmp_path])
    np.testing.assert_allclose(costs.policy_cost(run, "curriculum"), [6, np.nan, np.nan])
