"""A run's phases, and what they cost, against numbers worked out by hand."""

import dataclasses

import pytest

from soar_jax.config import method_config, read_config
from soar_jax.config.policy_sections import LoRASection
from soar_jax.errors import SettingsError
from soar_jax.model.config import ModelConfig
from soar_jax.planning.plan import Assumptions, Cost, make_plan
from soar_jax.runs.calls import END, PROMOTION, START, STEP, RunPhase, Sizes, run_calls
from soar_jax.telemetry import costs
from soar_jax.telemetry.devices import H100, Topology, parse_topology

METHODS = ("base_teacher", "hard_only", "intrinsic_teacher", "serl", "soar_math")
MODEL = ModelConfig(
    vocab_size=384,
    d_model=128,
    hidden_dim=256,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    rope_theta=1e4,
    norm_eps=1e-5,
    tie_embeddings=True,
    max_position_tokens=64,
    dtype="bfloat16",
)
SIZES = Sizes(hard_share=0.5, num_promotions=2, accepted_share=1.0)
ASSUMED = Assumptions(
    sizes=SIZES,
    completion_share=0.5,
    prompt_tokens=20,
    trained_share=1.0,
    mfu=0.5,
    bandwidth_share=0.5,
    tokens_per_s=0.0,
)
ONE = Topology(
    device=dataclasses.replace(H100, peak_flops=1e12, bandwidth=1e9, memory_bytes=1e9, usd_per_hour=2.0), num_chips=1
)


@pytest.fixture
def config():
    """An open config of small numbers, all different, so that no two can be mistaken for each other."""
    config = method_config("soar_math")
    config.num_outer_steps = 6
    config.final.students = ("curriculum", "promoted")
    config.hard_subset.update(num_candidates=80, num_samples=12, samples_per_round=4, validation_share=0.25)
    config.outer.update(num_datasets=2, questions_per_dataset=5, students_per_dataset=3)
    config.outer.update(num_reward_questions=7, reward_samples=2)
    config.inner.update(num_steps=2, questions_per_step=3, group_size=4)
    config.student.max_completion_tokens, config.teacher.max_completion_tokens = 11, 21
    config.final.update(num_steps=10, num_replicas=4, validate_every=2)
    config.curriculum.schedule = "then_hard"
    config.evaluation.update(num_samples=32, validation_samples=9, problems_per_call=8)
    config.transfer.num_problems = 6
    config.sampling.update(max_slots=16)
    return config


def phases_of(config, sizes=SIZES):
    """The calls that sample or train, by phase."""
    phases = {}
    for call in run_calls(read_config(config), sizes):
        if call.samples:
            phases.setdefault(call.phase.name, []).append(call)
    return phases


def sampled(calls):
    return [
        (call.policies, call.prompts, call.samples, call.max_tokens, call.prompts_per_call)
        for call in calls
        if call.rollouts
    ]


def rows_trained(calls):
    return [(call.program, call.rows_trained) for call in calls if call.updates]


def plan_of(config, topology=ONE, assumed=ASSUMED, model=MODEL, **more):
    return make_plan(read_config(config), model, topology=topology, assumed=assumed, **more)


def rollouts(calls):
    return sum(call.rollouts for call in calls)


def test_phases_of_an_outer_step(config):
    phases = phases_of(config)
    assert [name for name, calls in phases.items() if calls[0].phase.part == STEP] == [
        "writing questions",
        "students' answers",
        "students' updates",
        "measuring improvement",
        "updating the teacher",
    ]
    assert all(calls[0].phase.repeats == 6 for calls in phases.values() if calls[0].phase.part == STEP)
    assert sampled(phases["writing questions"]) == [(1, 1, 10, 21, 1)]
    # 6 students, 2 steps of 3 questions, 4 answers each
    assert sampled(phases["students' answers"]) == [(6, 6, 4, 11, 3)]
    assert rows_trained(phases["students' updates"]) == [("update_population", 6 * 2 * 3 * 4)]
    # all students at once, and the baseline student with them
    assert sampled(phases["measuring improvement"]) == [(7, 7, 2, 11, 8)]
    assert rows_trained(phases["updating the teacher"]) == [("update_policy", 10)]


def test_phases_before_and_after_the_outer_steps(config):
    phases = phases_of(config)
    # 40 of the 80 candidates are hard: they are asked in all 3 rounds of 4, the others in the first
    assert rollouts(phases["finding the hard subset"]) == 80 * 4 + 40 * 2 * 4
    finding = RunPhase(name="finding the hard subset", part=START, repeats=1)
    assert {call.phase for call in phases["finding the hard subset"]} == {finding}
    # 40 hard problems: 20 for the test, a quarter of the others for validation
    validating = RunPhase(name="validating a promotion", part=PROMOTION, repeats=2)
    assert {call.phase for call in phases["validating a promotion"]} == {validating}
    assert rollouts(phases["validating a promotion"]) == 5 * 9
    tested = phases["testing base, student, teacher"]
    assert {call.phase.repeats for call in tested} == {3}
    assert rollouts(tested) == (20 + 6) * 32
    assert rollouts(phases["curriculum: answers"]) == 4 * 10 * 3 * 4
    # the promoted student has 2 promotions of 2 steps behind it
    assert rollouts(phases["promoted: answers"]) == 4 * 6 * 3 * 4
    # looks before the first and after each of 5 episodes, and the tests
    assert rollouts(phases["curriculum: validation and tests"]) == 4 * (6 * 5 * 9 + (20 + 6) * 32)
    for name in ("curriculum: answers", tested[0].phase.name):
        assert {call.phase.part for call in phases[name]} == {END}


def test_a_row_counts_once_for_each_update(config):
    config.student.update(updates_per_batch=3, clip_ratio=0.2)
    config.teacher.train = False
    phases = phases_of(config)
    assert rows_trained(phases["students' updates"]) == [("update_population", 3 * 6 * 2 * 3 * 4)]
    assert "updating the teacher" not in phases


def test_episodes_grow_with_promotions_that_are_spread_evenly(config):
    config.inner.update(steps_per_promotion=3, max_steps=6)
    phases = phases_of(config)
    # 6 outer steps and 2 promotions: after 3 and after 6 outer steps, the latter too late for another episode
    names = [name for name in phases if name.startswith("students' answers")]
    assert names == ["students' answers, 2 steps", "students' answers, 5 steps"]
    assert [phases[name][0].phase.repeats for name in names] == [3, 3]
    assert [rollouts(phases[name]) for name in names] == [6 * 2 * 3 * 4, 6 * 5 * 3 * 4]
    assert rows_trained(phases["students' updates, 5 steps"]) == [("update_population", 6 * 5 * 3 * 4)]
    # so the promoted student has 2 + 5 steps behind it
    assert rollouts(phases["promoted: answers"]) == 4 * 3 * 3 * 4
    six = phases_of(config, dataclasses.replace(SIZES, num_promotions=6))
    assert [six[name][0].phase.repeats for name in six if name.startswith("students' answers")] == [1, 1, 4]
    assert "students' answers, 6 steps" in six  # the most
    plan = plan_of(config)
    answers = {phase.name: phase.repeats * cost.rollouts for phase, cost in plan.phases if "answers" in phase.name}
    assert sum(count for name, count in answers.items() if name.startswith("students'")) == 3 * 7 * 6 * 3 * 4


def test_rejected_completions_are_sampled_again(config):
    config.teacher.malformed = "resample"
    third = dataclasses.replace(SIZES, accepted_share=0.3)
    (writing,) = phases_of(config, third)["writing questions"]
    assert (writing.num_calls, writing.rollouts) == (6 * 4, 4 * 10)
    config.teacher.max_draws = 3
    assert rollouts(phases_of(config, third)["writing questions"]) == 3 * 10
    config.teacher.malformed = "penalise"
    assert rollouts(phases_of(config, third)["writing questions"]) == 10
    base = method_config("base_teacher")  # 64 questions, 128 at a time
    assert rollouts(phases_of(base, third)["writing the curriculum"]) == 2 * 128


def test_a_teacher_of_two_turns_trains_on_both(config):
    config.teacher.turns, config.prompts.teacher_format, config.grading.extraction = 2, "boxed_tags", ("boxed",)
    phases = phases_of(config)
    assert sampled(phases["writing questions"]) == [(1, 1, 10, 21, 1), (1, 10, 1, 21, 10)]
    assert rows_trained(phases["updating the teacher"]) == [("update_policy", 20)]


def test_without_a_validation_set_hard_train_chooses_greedily(config):
    config.hard_subset.validation_share = 0.0
    phases = phases_of(config)
    (measuring,) = phases["measuring a promotion"]
    assert (measuring.prompts, measuring.samples, measuring.temperature, measuring.top_p) == (20, 1, 0.0, 1.0)
    assert (measuring.phase.part, measuring.phase.repeats) == (PROMOTION, 2)
    assert rollouts(phases["curriculum: validation and tests"]) == 4 * (20 + 6) * 32


def evaluations(config, name):
    """Validations and tests of a kind of final students."""
    calls = phases_of(config)[f"{name}: validation and tests"]
    return tuple(sum(call.prompts == count for call in calls) for count in (5, 20))


def test_final_students_are_tested_and_validated_on_the_way(config):
    config.final.update(num_steps=12, validate_every=4)
    # then_hard: stages of 2 steps for each of 2 promotions; validations at 0, 2, 4, 8 and 12
    assert evaluations(config, "curriculum") == (5, 1)
    assert evaluations(config, "promoted") == (3, 1)  # at 4, 8 and 12
    config.final.test_every = 5
    assert evaluations(config, "curriculum") == (7, 3)  # tests at 5, 10 and 12 end an episode too
    config.final.test_every = 6
    assert evaluations(config, "curriculum") == (6, 2)
    config.curriculum.update(schedule="warm_start", warm_start_steps=3)
    assert evaluations(config, "curriculum") == (6, 2)  # 0, 3, 4, 6, 8, 12
    config.curriculum.schedule = "mixed"
    assert evaluations(config, "curriculum") == (5, 2)


def test_students_end_at_the_reported_step(config):
    config.final.update(num_steps=12, report_at="step", report_step=6, test_every=3)
    phases = phases_of(config)
    assert rollouts(phases["curriculum: answers"]) == 4 * 6 * 3 * 4
    assert evaluations(config, "curriculum")[1] == 2
    assert rollouts(phases["promoted: answers"]) == 4 * 2 * 3 * 4


def test_no_transfer_is_tested_where_there_is_none(config):
    config.transfer.source = "none"
    phases = phases_of(config)
    assert rollouts(phases["testing base, student, teacher"]) == 20 * 32


def test_a_run_from_a_finished_one_has_no_outer_steps():
    config = method_config("inference")
    config.source_run = "somewhere"
    assert {name for name, calls in phases_of(config).items() if calls[0].phase.part == STEP} == set()
    assert "testing base, student, teacher" in phases_of(config)
    config = method_config("grounded_teacher")
    config.source_run = "somewhere"
    assert {"writing the curriculum", "curriculum: answers"} <= set(phases_of(config))


def trained(width, remat="none", lora_config=None):
    """FLOPs of an update for one of the 36 groups of a step: four completions of a prompt."""
    return costs.training_flops(
        MODEL,
        20,
        completion_tokens=width,
        remat=remat,
        lora_config=lora_config,
        num_completions=4,
    )


def test_the_kl_divergence_takes_a_forward_pass_of_the_reference(config):
    for policy in (config.student, config.teacher):
        policy.update(kl="k1_in_reward", kl_coef=0.1)
    half = dataclasses.replace(ASSUMED, trained_share=0.5)
    forward = 36 * costs.reference_flops(MODEL, 20, 11, num_completions=4)
    backward = 36 * trained(11)
    cost = cost_of(config, "students' updates", assumed=half)
    assert cost.training_flops == pytest.approx(forward + backward / 2)
    assert (cost.rollouts, cost.sampling_flops) == (0, 0)
    (teachers,) = [call for call in phases_of(config)["updating the teacher"] if call.is_reference]
    assert (teachers.program, teachers.rows_compared) == ("policy_reference_logprobs", 10)
    assert teachers.num_calls == 6
    (students,) = [call for call in phases_of(config)["students' updates"] if call.is_reference]
    assert (students.program, students.rows_compared) == ("population_reference_logprobs", 144)
    assert students.num_calls == 6 * 2
    config.student.kl = "k3_in_loss"  # every row is trained on
    in_loss = cost_of(config, "students' updates", assumed=half)
    assert in_loss.training_flops == pytest.approx(forward + backward)
    config.student.update(clip_ratio=0.2, updates_per_batch=3)  # they share the reference's pass
    repeated = cost_of(config, "students' updates", assumed=half)
    assert repeated.training_flops == pytest.approx(forward + 3 * backward)


@pytest.mark.parametrize(
    ("method", "there", "missing"),
    [
        ("hard_only", {"testing base", "hard_only: updates"}, {"writing questions", "validating a promotion"}),
        ("base_teacher", {"writing the curriculum", "curriculum: answers"}, {"writing questions"}),
        (
            "intrinsic_teacher",
            {"answering questions", "updating the teacher", "testing base"},
            {"students' answers", "validating a promotion", "testing base, student, teacher"},
        ),
        ("serl", {"self_play: answers"}, {"writing questions", "writing the curriculum"}),
    ],
)
def test_methods_differ_in_their_phases(method, there, missing):
    phases = phases_of(method_config(method))
    assert there <= set(phases)
    assert not missing & set(phases)
    assert missing <= {name for other in METHODS for name in phases_of(method_config(other))}


def test_self_play_writes_and_labels_before_it_trains():
    config = method_config("serl")
    calls = phases_of(config)["self_play: answers"]
    episodes, replicas = config.final.num_steps // config.inner.num_steps, config.final.num_replicas
    assert [call.rollouts for call in calls] == [
        replicas * episodes * config.self_play.questions_per_episode,
        replicas * episodes * config.self_play.questions_per_episode * config.self_play.label_samples,
        replicas * config.final.num_steps * config.inner.questions_per_step * config.inner.group_size,
    ]


def cost_of(config, name, topology=ONE, assumed=ASSUMED):
    return {phase.name: cost for phase, cost in plan_of(config, topology, assumed).phases}[name]


def test_tokens_and_operations_of_sampling_by_hand(config):
    cost = cost_of(config, "students' answers")
    assert (cost.rollouts, cost.prompt_tokens, cost.sampled_tokens) == (144, 36 * 20, 144 * 6)  # half of 11 is 6
    assert cost.sampling_flops == 36 * costs.prefill_flops(MODEL, 20) + 144 * costs.decode_flops(MODEL, 20, 6)
    assert cost.training_flops == cost.training_s == 0


def test_time_of_decoding_by_hand(config):
    # 3 prompts with 4 answers each: 12 rows, all at once, a student and step. They are decoded 10 times, each reading
    # the weights and 30 slots of every row.
    cost = cost_of(config, "students' answers")
    step = costs.matrix_bytes(MODEL) + 12 * 30 * costs.cache_bytes_per_token(MODEL)
    assert cost.sampling_bytes == 6 * 2 * 10 * step
    prefill_s = 36 * costs.prefill_flops(MODEL, 20) / 0.5e12
    assert cost.sampling_s == pytest.approx(cost.sampling_bytes / 0.5e9 + prefill_s)


def test_waiting_rows_take_the_mean_length_the_last_the_limit(config):
    config.sampling.max_slots = 4
    cost = cost_of(config, "students' answers")
    step = costs.matrix_bytes(MODEL) + 4 * 30 * costs.cache_bytes_per_token(MODEL)
    assert cost.sampling_bytes == 6 * 2 * (2 * 6 + 10) * step


def test_long_completions_read_the_ring_and_end_in_fewer_slots(config):
    config.student.max_completion_tokens, config.inner.questions_per_step = 129, 4
    cost = cost_of(config, "students' answers")
    assert cost.sampled_tokens == 6 * 2 * 16 * 64
    # 16 rows in as many slots: 64 steps in a ring of 64, then half of the rows have ended, and 64 steps in one of 128
    slots_read = 64 * 16 * (20 + 64) + 64 * 8 * (20 + 128)
    step_bytes = 128 * costs.matrix_bytes(MODEL) + slots_read * costs.cache_bytes_per_token(MODEL)
    assert cost.sampling_bytes == 6 * 2 * step_bytes


def test_decoding_may_be_bound_by_operations(config):
    slow = dataclasses.replace(ONE, device=dataclasses.replace(ONE.device, peak_flops=1e9))
    cost = cost_of(config, "students' answers", slow)
    flops = 144 * costs.decode_flops(MODEL, 20, 11) + 36 * costs.prefill_flops(MODEL, 20)
    assert cost.sampling_s == pytest.approx(flops / 0.5e9)


def test_operations_of_a_large_model_do_not_overflow(config):
    config.inner.questions_per_step, config.inner.group_size = 5_000, 1_000
    large = dataclasses.replace(MODEL, num_layers=1_000, d_model=2**16, hidden_dim=2**18)
    slow = dataclasses.replace(ONE, device=dataclasses.replace(ONE.device, peak_flops=1.0))
    plan = plan_of(config, slow, model=large)
    cost = next(cost for phase, cost in plan.phases if phase.name == "students' answers")
    rows = 6 * 2 * 5_000 * 1_000
    assert cost.sampling_s > rows * costs.decode_flops(large, 20, 6)


def test_more_chips_than_students_share_their_rows(config):
    config.student.rows_per_micro_batch = config.teacher.rows_per_micro_batch = 4

    def seconds(population, fsdp=1, tensor=1):
        config.mesh.update(population=population, fsdp=fsdp, tensor=tensor)
        chips = dataclasses.replace(ONE, num_chips=population * fsdp * tensor)
        return cost_of(config, "students' answers", chips).sampling_s

    assert seconds(1) / seconds(2) == pytest.approx(2)
    # 4 chips a student: each reads the weights for 3 rows, not 12
    assert 1 < seconds(2) / seconds(2, fsdp=4) < 4
    # Two halves of the heads: each chip reads half of the weights and of the caches
    assert seconds(2) / seconds(2, tensor=2) == pytest.approx(2)


def test_waves_and_the_policy_beside_them_take_their_time(config):
    all_at_once = cost_of(config, "students' answers"), cost_of(config, "measuring improvement")
    config.inner.students_at_once = 3
    assert cost_of(config, "students' answers").sampling_s == pytest.approx(all_at_once[0].sampling_s)
    measured = cost_of(config, "measuring improvement").sampling_bytes  # the baseline student in each of two waves
    assert measured == pytest.approx(all_at_once[1].sampling_bytes * 8 / 7)


def test_each_shard_of_students_computes_the_teachers_gradient(config):
    one, two = (cost_of(config, "updating the teacher", dataclasses.replace(ONE, num_chips=chips)) for chips in (1, 2))
    assert two.training_flops == 2 * one.training_flops
    assert two.training_s == pytest.approx(one.training_s)


def test_a_measured_speed_takes_the_place_of_the_roofline(config):
    assumed = dataclasses.replace(ASSUMED, tokens_per_s=100.0)
    cost = cost_of(config, "students' answers", topology=dataclasses.replace(ONE, num_chips=2), assumed=assumed)
    assert cost.sampling_s == pytest.approx(144 * 6 / 200)


def test_time_of_training_by_hand(config):
    two = dataclasses.replace(ONE, num_chips=2)
    config.student.kl_coef = 0.1
    config.student.remat = "layers"
    group = trained(11, remat="layers") + costs.reference_flops(MODEL, 20, 11, num_completions=4)
    cost = cost_of(config, "students' updates", two)
    assert cost.training_flops == 36 * group
    assert cost.seconds == pytest.approx(36 * group / (2 * 0.5e12))
    config.student.remat = "dots"
    assert trained(11) < trained(11, remat="dots") < trained(11, remat="layers")
    assert cost_of(config, "students' updates", two).training_flops < cost.training_flops


def test_rows_are_trained_on_padded_to_their_bucket(config):
    config.student.update(max_completion_tokens=16, completion_buckets=4)
    cost = cost_of(config, "students' updates")  # lengths spread evenly over 0 to 16
    flops = [36 * trained(width) for width in (4, 8, 12, 16)]
    assert cost.training_flops == pytest.approx(sum(flops) / 4)
    short = cost_of(config, "students' updates", assumed=dataclasses.replace(ASSUMED, completion_share=0.125))
    assert short.training_flops == pytest.approx(flops[0])  # 0 to 4
    half = dataclasses.replace(ASSUMED, trained_share=0.5)
    assert cost_of(config, "students' updates", assumed=half).training_flops == pytest.approx(cost.training_flops / 2)


def test_adapters_train_cheaper_and_share_the_weights(config):
    full = cost_of(config, "students' updates"), cost_of(config, "students' answers")
    config.lora.rank = 2
    config.sampling.population_batch = 3
    train, sample = cost_of(config, "students' updates"), cost_of(config, "students' answers")
    lora_config = LoRASection(rank=2, scale=2.0, layers=tuple(config.lora.layers))
    assert train.training_flops == 36 * trained(11, lora_config=lora_config)
    assert train.training_s < full[0].training_s
    saved = 12 * 10 * costs.matrix_bytes(MODEL) * 2 / 3
    assert sample.sampling_bytes == pytest.approx(full[1].sampling_bytes - saved)
    policies = 6 + 1
    expected = policies * 12 * costs.adapter_parameters(MODEL, lora_config) + costs.weight_bytes(MODEL)
    assert plan_of(config).state_bytes == expected


def test_total_is_the_sum_of_the_phases(config):
    plan = plan_of(config, dataclasses.replace(ONE, num_chips=2))
    seconds = sum(phase.repeats * (cost.sampling_s + cost.training_s) for phase, cost in plan.phases)
    assert plan.total.seconds == pytest.approx(seconds)
    assert plan.chip_hours == pytest.approx(2 * seconds / 3600)
    assert plan.usd == pytest.approx(2.0 * plan.chip_hours)
    sampling = sum(phase.repeats * cost.sampling_s for phase, cost in plan.phases) * 1e9 / 3.35e12
    training = sum(phase.repeats * cost.training_s for phase, cost in plan.phases) * 1e12 / 989.4e12
    assert plan.h100_hours == pytest.approx(2 * (sampling + training) / 3600)
    assert plan.memory_bytes == 2e9
    assert plan.state_bytes == 7 * 12 * (costs.weight_bytes(MODEL) // 2)
    assert plan_of(config, usd_per_chip_hour=0.0).usd == 0


def test_hours_on_h100_are_h100_hours(config):
    config.mesh.update(population=2, fsdp=4)
    plan = plan_of(config, parse_topology("h100:8"))
    assert plan.h100_hours == pytest.approx(plan.chip_hours)


def test_prompts_take_the_middle_bucket_by_default(config):
    config.prompts.bucket_tokens = (64, 8, 32)
    assert cost_of(config, "writing questions", assumed=dataclasses.replace(ASSUMED, prompt_tokens=0)) == cost_of(
        config, "writing questions", assumed=dataclasses.replace(ASSUMED, prompt_tokens=32)
    )


def test_costs_add_up():
    one, more = (
        Cost(
            rollouts=1,
            prompt_tokens=2,
            sampled_tokens=3,
            sampling_flops=4.0,
            sampling_bytes=5.0,
            training_flops=6.0,
            sampling_s=7.0,
            training_s=8.0,
        ),
        Cost(rollouts=10),
    )
    assert one + more == Cost(
        rollouts=11,
        prompt_tokens=2,
        sampled_tokens=3,
        sampling_flops=4.0,
        sampling_bytes=5.0,
        training_flops=6.0,
        sampling_s=7.0,
        training_s=8.0,
    )
    assert one.times(3).over(3) == one
    assert more.over(4) == Cost(rollouts=2)
    assert one.times(2) == Cost(
        rollouts=2,
        prompt_tokens=4,
        sampled_tokens=6,
        sampling_flops=8.0,
        sampling_bytes=10.0,
        training_flops=12.0,
        sampling_s=14.0,
        training_s=16.0,
    )
    assert (one.flops, one.seconds) == (10.0, 15.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mfu": 0.0}, "mfu is 0.0; it must be more than 0"),
        ({"completion_share": 1.5}, "completion_share is 1.5"),
        ({"bandwidth_share": float("nan")}, "bandwidth_share is nan"),
        ({"tokens_per_s": -1.0}, "tokens_per_s is -1.0"),
        ({"prompt_tokens": -1}, "prompt_tokens is -1"),
        ({"sizes": dataclasses.replace(SIZES, hard_share=0.0)}, "hard_share is 0.0"),
        ({"sizes": dataclasses.replace(SIZES, num_promotions=-1)}, "promotions is -1"),
        ({"sizes": dataclasses.replace(SIZES, accepted_share=0.0)}, "accepted_share is 0.0"),
    ],
)
def test_assumptions_out_of_range_are_refused(config, change, message):
    with pytest.raises(SettingsError, match=message):
        plan_of(config, assumed=dataclasses.replace(ASSUMED, **change))


@pytest.mark.parametrize(("sizes", "message"), [
    ({"population": 2}, "but there are 1 device"),
    ({"population": -1}, "mesh.population = 4 does not divide"),
])  # fmt: skip
def test_a_mesh_that_does_not_fit_is_refused(config, sizes, message):
    config.mesh.update(sizes)
    with pytest.raises(SettingsError, match=message):
        plan_of(config, ONE if sizes["population"] == 2 else dataclasses.replace(ONE, num_chips=4))


def test_adapters_that_the_model_cannot_have_are_refused(config):
    config.lora.update(rank=2, layers=("unembedding",))
    with pytest.raises(SettingsError, match=r"lora\.layers holds 'unembedding'"):
        plan_of(config)
