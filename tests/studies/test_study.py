import dataclasses
import json
import os
import pathlib

import pytest

from soar_jax.errors import SettingsError
from soar_jax.studies import child_process
from soar_jax.studies.child_process import JobResult
from soar_jax.studies.study import PAPER_METHODS, parse_seeds, plan
from tests.configs import make_config

OUT = pathlib.Path("no/such/folder")


def planned(methods=("soar_math",), seeds=(0,), common=(), sweep=(), out=OUT):
    return plan(methods, "nano", seeds=seeds, out=out, common=common, sweep=sweep)


def test_jobs_are_ordered_by_seed():
    jobs = planned(("soar_math", "curated"), (0, 3))
    assert [(job.config.method, job.config.seed) for job in jobs] == [
        ("soar_math", 0),
        ("curated", 0),
        ("soar_math", 3),
        ("curated", 3),
    ]
    assert [str(job.workdir.relative_to(OUT)) for job in jobs][:2] == ["soar_math/seed0", "curated/seed0"]


def test_job_is_a_run_of_the_console_program():
    (job,) = planned(seeds=(4,), common=("inner.num_steps=5",), sweep=("promotion.threshold=0.05",))
    assert job.arguments == (
        "-m",
        "soar_jax.cli.main",
        "run",
        "--config=soar_math:nano",
        "--config.seed=4",
        "--config.inner.num_steps=5",
        "--config.promotion.threshold=0.05",
        f"--workdir={job.workdir}",
    )
    assert job.config == make_config(**{"seed": 4, "inner.num_steps": 5, "promotion.threshold": 0.05})


def test_sweep_is_a_grid_with_one_folder_per_combination():
    jobs = planned(sweep=("promotion.threshold=0.01,0.05", "problems.levels=(6,7),(8,)"), common=("inner.num_steps=5",))
    assert [(job.config.promotion.threshold, tuple(job.config.problems.levels)) for job in jobs] == [
        (0.01, (6, 7)),
        (0.01, (8,)),
        (0.05, (6, 7)),
        (0.05, (8,)),
    ]
    assert {job.config.inner.num_steps for job in jobs} == {5}
    assert len({job.workdir for job in jobs}) == 4
    assert jobs[0].workdir == OUT / "soar_math" / "promotion.threshold=0.01,problems.levels=(6,7)" / "seed0"


def test_swept_value_cannot_leave_the_study_folder():
    (job,) = planned(sweep=("model.source=../../secret",))
    assert job.workdir.resolve().is_relative_to(OUT.resolve())
    assert len(job.workdir.relative_to(OUT).parts) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ("sour_math",)}, "no method 'sour_math'; choose from .*soar_math"),
        ({"methods": ("scales",)}, "no method 'scales'"),
        ({"methods": ("../configs/curated",)}, "no method"),
        ({"common": ("promotion.treshold=1",)}, "no such config key"),
        ({"common": ("outer.num_datasets=many",)}, "outer.num_datasets"),
        ({"common": ("outer.num_datasets=0",)}, "outer.num_datasets is 0; it must be at least 1"),
        ({"common": ("seed=3",)}, "use --seeds"),
        ({"sweep": ("promotion.threshold=",)}, "is not KEY=VALUE"),
        ({"sweep": ("promotion.threshold=1,,2",)}, "has an empty value"),
        ({"sweep": ("promotion.threshold=1,1",)}, "has a value twice"),
        ({"sweep": ("promotion.threshold=1",), "common": ("promotion.threshold=2",)}, "is given twice"),
        ({"sweep": ("promotion.statistic=mean,median",)}, "promotion.statistic is 'median'; choose one of"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(SettingsError, match=message):
        planned(**arguments)


def test_unknown_scale_is_refused():
    with pytest.raises(SettingsError, match="unknown scale 'nanno'"):
        plan(("curated",), "nanno", seeds=(0,), out=OUT)


def test_workdir_of_another_config_is_refused(tmp_path):
    (job,) = planned(out=tmp_path)
    assert not job.is_finished
    (job.workdir / "results").mkdir(parents=True)
    (job.workdir / "summary.json").write_text("{}")
    config = json.loads(json.dumps(job.config.to_dict()))
    (job.workdir / "config.json").write_text(json.dumps(config))
    (again,) = planned(out=tmp_path)
    assert again.is_finished
    with pytest.raises(SettingsError, match=r"different: outer\.num_datasets"):
        planned(out=tmp_path, common=("outer.num_datasets=2",))


def finish(workdir):
    workdir.mkdir(parents=True)
    (workdir / "summary.json").write_text("{}")


def test_every_method_of_the_paper_is_planned(tmp_path):
    jobs = plan(PAPER_METHODS, "nano", seeds=(0, 1), out=tmp_path)
    assert [job.config.method for job in jobs] == [*PAPER_METHODS] * 2
    sources = {(job.config.method, job.config.seed): job.source for job in jobs if job.source}
    assert sources == {
        (method, seed): tmp_path / "soar_math" / f"seed{seed}"
        for method in ("grounded_teacher", "inference")
        for seed in (0, 1)
    }
    assert all(job.config.source_run == str(job.source or "") for job in jobs)


def test_methods_start_from_soars_run_of_their_seed_and_variant():
    sweep = ("promotion.threshold=0.01,0.05",)
    soar, *others = planned(("soar_math", "grounded_teacher", "correct_only"), (4,), sweep=sweep)[:3]
    assert soar.source is None
    for job in others:
        assert job.source == soar.workdir == OUT / "soar_math" / "promotion.threshold=0.01" / "seed4"
        assert f"--config.source_run={soar.workdir}" in job.arguments


def test_a_finished_run_of_soar_is_a_source(tmp_path):
    finish(tmp_path / "soar_math" / "seed2")
    (job,) = planned(("grounded_teacher",), (2,), out=tmp_path)
    assert job.source == tmp_path / "soar_math" / "seed2"


def test_keys_of_final_students_are_swept_over_one_run_of_soar(tmp_path):
    finish(tmp_path / "soar_math" / "seed0")
    sweep = ("curriculum.num_questions=32,64",)
    assert {job.source for job in planned(("grounded_teacher",), sweep=sweep, out=tmp_path)} == {
        tmp_path / "soar_math" / "seed0"
    }
    _, job = planned(("soar_math", "grounded_teacher"), sweep=("curriculum.num_questions=32",), out=tmp_path)
    assert job.source == tmp_path / "soar_math" / "curriculum.num_questions=32" / "seed0"


def test_a_source_of_the_users_own_is_kept(tmp_path):
    (job,) = planned(("grounded_teacher",), common=("source_run=my/run",), out=tmp_path)
    assert job.config.source_run == "my/run"
    assert job.source is None


def test_a_method_without_a_run_to_start_from_is_refused(tmp_path):
    message = (
        f"^grounded_teacher seed 0 starts from a finished run of soar_math, and {tmp_path}/soar_math/seed0 is none"
    )
    with pytest.raises(SettingsError, match=message):
        planned(("grounded_teacher", "hard_only"), out=tmp_path)


def test_a_scale_may_name_a_benchmark():
    (job,) = plan(("hard_only",), "llama3.2-3b:harp", seeds=(0,), out=OUT)
    assert "--config=hard_only:llama3.2-3b:harp" in job.arguments
    assert (job.config.scale, job.config.problems.source) == ("llama3.2-3b:harp", "harp")
    assert ":" not in str(job.workdir)


def test_repeated_method_is_refused():
    with pytest.raises(SettingsError, match="--methods=curated,curated has a method twice"):
        plan(("curated", "curated"), "nano", seeds=(0,), out=OUT)


def test_error_is_that_of_the_last_start(tmp_path):
    (job,) = planned(out=tmp_path)
    job = dataclasses.replace(job, arguments=("-c", "print('error: first', flush=True); raise SystemExit(2)"))
    assert child_process.start(job, os.environ).wait() == 2
    assert JobResult(job=job, code=2, seconds=1.0).error == "error: first"
    job = dataclasses.replace(job, arguments=("-c", "print('working', flush=True); raise ValueError('second')"))
    assert child_process.start(job, os.environ).wait() == 1
    assert JobResult(job=job, code=1, seconds=1.0).error == "ValueError: second"


@pytest.mark.parametrize(("text", "seeds"), [("3", [0, 1, 2]), ("0,3,7", [0, 3, 7]), ("7,", [7])])
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "x", "1,1", "-1,", "1.5"])
def test_bad_seeds_are_refused(text):
    with pytest.raises(SettingsError, match="--seeds="):
        parse_seeds(text)
