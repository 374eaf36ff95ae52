"""Rules that tie config keys to each other."""

import contextlib
import re

import pytest

from soar_jax.config import METHODS, method_config, read_config
from soar_jax.config.cross_rules import UNSET, check_whole_run
from soar_jax.errors import SettingsError
from tests.configs import make_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outer.num_datasets": 1}, "RLOO compares a dataset with the others"),
        ({"outer.reward_temperature": 0.0}, "outer.reward_samples is 16 with outer.reward_temperature=0: greedy"),
        ({"student.updates_per_batch": 2}, "so set clip_ratio"),
        ({"teacher.updates_per_batch": 2}, "teacher.updates_per_batch is 2 with clip_ratio=0"),
        ({"evaluation.num_samples": 16}, "pass@32 needs at least 32"),
        ({"evaluation.temperature": 0.0}, "evaluation.temperature=0: greedy samples are all alike"),
        ({"hard_subset.temperature": 0.0}, "greedy samples are all alike, so a problem would be hard by a single try"),
        (
            {"final.students": ("self_play",), "curriculum.source": "none", "final.num_steps": 15},
            "it must be a multiple of inner.num_steps = 10",
        ),
        ({"source_step": 3}, "source_step is 3, but source_run names no run"),
        ({"source_run": "runs/soar"}, "source_run is 'runs/soar' with num_outer_steps=40; a run that starts from a"),
        ({"curriculum.keep": "right"}, "curriculum.keep is 'right', which chooses among judged promotion questions"),
        ({"curriculum.warm_start_steps": 64}, "curriculum.warm_start_steps is 64, and final.num_steps is 50"),
        ({"final.report_at": "plateau"}, "must be a multiple of final.test_every = 0, which must not be 0"),
        ({"final.report_at": "plateau", "final.test_every": 30}, "final.report_steps is 200; with"),
        ({"final.report_at": "step", "final.test_every": 20}, "final.report_step is 50; it must be a multiple of"),
        ({"student.reward": "graded"}, "student.reward is 'graded', which rewards boxed answers, but"),
        ({"teacher.turns": 2}, "teacher.turns is 2, for which prompts.teacher_format must be 'boxed_tags' and"),
        ({"curriculum.source": "none"}, "final.students names curriculum, true_answers, random_answers, but"),
        ({"teacher.reward": "r_zero"}, "nothing is ever promoted"),
        ({"num_outer_steps": 0}, "nothing is ever promoted"),
        ({"promotion.rule": "never"}, "nothing is ever promoted"),
        ({"problems.levels": ()}, "problems.levels is (); give"),
        ({"transfer.levels": ()}, "transfer.levels is (); give"),
        ({"curriculum.levels": ()}, "curriculum.levels is (); give"),
        ({"problems.levels": (6, 9)}, "problems.levels is (6, 9); levels go from 1 to 8"),
        ({"curriculum.levels": (9,)}, "curriculum.levels is (9,); levels go from 1 to 8"),
        ({"problems.source": "jsonl", "problems.fields.question": "q"}, "problems.fields names no answer; which field"),
        ({"transfer.source": "jsonl"}, "transfer.fields names no question; which field of a row is it?"),
        ({"analysis.judge": "endpoint"}, "analysis.judge is 'endpoint', but analysis.judge_model names no model"),
        ({"lora.rank": 2, "lora.layers": ()}, "lora.layers is empty; name at least one linear layer"),
        ({"mesh.population": 0}, "mesh.population=0, mesh.data=1, mesh.fsdp=1, mesh.tensor=1: a size is 1 or more, or"),
        ({"mesh.data": -2}, "mesh.population=-1, mesh.data=-2, mesh.fsdp=1, mesh.tensor=1: a size is 1 or more, or -1"),
        ({"mesh.data": -1}, "mesh.population=-1, mesh.data=-1, mesh.fsdp=1, mesh.tensor=1: only one size may be -1"),
        ({"prompts.teacher": "about {subject}"}, "prompts.teacher holds {subject}, but prompts.subjects is empty"),
        ({"inner.students_at_once": 3}, "inner.students_at_once is 3; it must be 0 (all), or a multiple of"),
        ({"promotion.clears_window": False}, "'window_best' with promotion.clears_window=False: students from before"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_config(**changes)


STAGES = {"curriculum.schedule": "then_hard"}


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("curated", STAGES | {"curriculum.levels": (), "problems.source": "math"}, "curriculum.levels is empty"),
        (
            "curated",
            STAGES | {"curriculum.levels": (3, 4, 5, 6, 7, 8)},
            "the curriculum has 6 stages of inner.num_steps=10 steps",
        ),
        ("base_teacher", STAGES | {"curriculum.num_questions": 128}, "the curriculum has 16 stages"),
        ("hard_only", {"final.students": ("promoted",)}, "num_outer_steps=0 nobody is promoted"),
        (
            "curated",
            {"final.students": ("self_play",)},
            "'self_play', whose questions are its own, but curriculum.source is",
        ),
        ("curated", {"curriculum.curated_source": "jsonl"}, "problems.fields names no question; which field of a row"),
    ],
)
def test_final_students_that_cannot_be_trained_are_refused(method, changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        make_config(method, **changes)


@pytest.mark.parametrize("size", [1, 3, 6, 16])
def test_waves_divide_the_students(size):
    shape = {"outer.num_datasets": 4, "outer.students_per_dataset": 2}
    assert make_config(**shape).students_at_once == 8
    assert make_config(**shape, **{"inner.students_at_once": 4}).students_at_once == 4
    message = (
        f"inner.students_at_once is {size}; it must be 0 (all), or a multiple of outer.students_per_dataset = 2 that "
        "divides all 8 students"
    )
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        make_config(**shape, **{"inner.students_at_once": size})


def test_whole_models_are_trained_in_waves_by_default():
    assert make_config(scale="llama3.2-3b").students_at_once == 4
    assert make_config(scale="llama3.2-3b", **{"lora.rank": 32}).students_at_once == 16
    for datasets, each, wave in ((2, 1, 2), (3, 2, 2), (2, 3, 3), (2, 8, 8)):
        shape = {"outer.num_datasets": datasets, "outer.students_per_dataset": each}
        assert make_config(scale="llama3.2-3b", **shape).students_at_once == wave


def test_frozen_teacher_needs_no_second_dataset():
    make_config(**{"outer.num_datasets": 1, "teacher.train": False})


def test_no_levels_are_all_of_a_benchmark():
    config = method_config("soar_math")
    for section in (config.problems, config.transfer):
        section.update(source="math", levels=())
    config.curriculum.levels = ()
    read_config(config)


@pytest.mark.parametrize(("samples", "is_refused"), [(64, False), (128, False), (96, True), (256, True)])
def test_rounds_of_the_hard_subset_are_whole(samples, is_refused):
    message = f"num_samples is 128; it must be a multiple of hard_subset.samples_per_round = {samples}$"
    with pytest.raises(SettingsError, match=message) if is_refused else contextlib.nullcontext():
        make_config(**{"hard_subset.samples_per_round": samples})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hard_subset.num_candidates": 100}, "at most 33 become hard train problems"),
        ({"transfer.topic": "dial"}, "transfer has the source and the topic of problems"),
        ({"problems.source": "math"}, "'math' cannot tell the true answers of new questions"),
        (
            {"problems.source": "math", "final.students": ("hard_only",)},
            "analysis.judge is 'world', but problems.source 'math' cannot judge questions; use 'self_consistency'",
        ),
    ],
)
def test_config_that_serves_no_whole_run_is_refused(changes, message):
    check_whole_run(make_config())
    config = make_config(**changes)
    with pytest.raises(SettingsError, match=message):
        check_whole_run(config)


@pytest.mark.parametrize("changes", [{}, {"source_run": ""}])
def test_method_that_starts_from_a_run_needs_one(changes):
    config = make_config("grounded_teacher", **changes)  # planning does without
    with pytest.raises(SettingsError, match=r"^grounded_teacher starts from a finished run of SOAR; name"):
        check_whole_run(config)
    check_whole_run(make_config("grounded_teacher", source_run="runs/soar"))


def test_method_of_ones_own_says_that_it_starts_from_a_run():
    with METHODS.temporarily():

        @METHODS.register("mine")
        def mine(config):
            config.update(source_run=UNSET, num_outer_steps=0)
            config.curriculum.source = "teacher"
            config.final.students = ("curriculum",)

        with pytest.raises(SettingsError, match=r"^mine starts from a finished run of SOAR; name its workdir"):
            check_whole_run(make_config("mine", source_run=""))
        check_whole_run(make_config("mine", source_run="runs/soar"))


def test_methods_without_reward_questions_need_none():
    check_whole_run(make_config("hard_only", **{"hard_subset.num_candidates": 8}))
