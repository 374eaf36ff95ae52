"""Methods: what each one changes in a scale's config. `configs/` has a file a method, which users copy.

@METHODS.register("my_method")
def my_method(config): ...
"""

from __future__ import annotations

from collections.abc import Callable

import ml_collections

from soar_jax.config import cross_rules
from soar_jax.config.scales import scale_config
from soar_jax.registry import Registry

METHODS: Registry[Callable[[ml_collections.ConfigDict], None]] = Registry("method")


def method_config(method: str, scale: str = "nano") -> ml_collections.ConfigDict:
    """The config of a method at a scale, open to changes.

    Raises:
      SettingsError: there is no such method or scale.
    """
    config = scale_config(scale)
    METHODS[method](config)
    config.method = method
    return config


@METHODS.register("soar_math")
def soar_math(config: ml_collections.ConfigDict) -> None:
    """SOAR: a teacher rewarded with its students' improvement on hard problems (paper: PQ and PS)."""
    config.final.students = ("curriculum",)
    if config.problems.source == cross_rules.ARITHMETIC:  # elsewhere nobody knows the true answer of a new question
        config.final.students = ("curriculum", "promoted", "true_answers", "random_answers", "hard_only")


@METHODS.register("no_promotion")
def no_promotion(config: ml_collections.ConfigDict) -> None:
    """Grounded-T without promotion (paper): students always start from the base model.

    On HARP the run ends at the step whose teacher the paper evaluates (B.7), where its learning rate is 0 by then.
    """
    config.promotion.rule = "never"
    if config.problems.source == "harp":
        config.num_outer_steps = 170
    _teach_by_questions(config)


@METHODS.register("two_turn_teacher")
def two_turn_teacher(config: ml_collections.ConfigDict) -> None:
    """SOAR whose teacher writes a question first, and then its answer (paper, D.3)."""
    soar_math(config)
    config.teacher.turns = 2
    config.prompts.teacher_format = "boxed_tags"


@METHODS.register("frozen_teacher")
def frozen_teacher(config: ml_collections.ConfigDict) -> None:
    """The control for SOAR: the same selection and promotion, but the teacher never learns."""
    config.teacher.train = False
    config.final.students = ("curriculum",)
    if config.problems.source == cross_rules.ARITHMETIC:
        config.final.students = ("curriculum", "promoted")


@METHODS.register("grounded_teacher")
def grounded_teacher(config: ml_collections.ConfigDict) -> None:
    """Grounded-T (paper): fresh students trained on questions of a finished SOAR run's teacher and on hard train."""
    config.num_outer_steps = 0
    config.source_run = cross_rules.UNSET
    config.source_step = 170 if config.problems.source == "harp" else 0  # paper, B.7
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)


@METHODS.register("promotion_questions")
def promotion_questions(config: ml_collections.ConfigDict) -> None:
    """PQ of a finished SOAR run, for more students or on another benchmark (paper: transfer to OlympiadBench)."""
    config.num_outer_steps = 0
    config.source_run = cross_rules.UNSET
    config.final.students = ("curriculum",)


@METHODS.register("correct_only")
def correct_only(config: ml_collections.ConfigDict) -> None:
    """PQ of a finished SOAR run, of its right questions only (paper, C.5)."""
    promotion_questions(config)
    config.curriculum.keep = "right"


@METHODS.register("well_posed_only")
def well_posed_only(config: ml_collections.ConfigDict) -> None:
    """PQ of a finished SOAR run, of its well-posed questions only (paper, C.5)."""
    promotion_questions(config)
    config.curriculum.keep = "well_posed"


@METHODS.register("inference")
def inference(config: ml_collections.ConfigDict) -> None:
    """Tests a finished SOAR run's promoted student and teacher, and trains nobody (paper: PS, inference)."""
    promotion_questions(config)
    config.curriculum.source = "none"
    config.final.students = ()


@METHODS.register("intrinsic_teacher")
def intrinsic_teacher(config: ml_collections.ConfigDict) -> None:
    """Intrinsic-T (paper, B.4): rewarded by learnability, 1 - p where p > 0, the mean over a dataset."""
    config.teacher.update(reward="absolute_zero", reward_unit="dataset", solver_samples=32)
    _teach_by_questions(config)


@METHODS.register("triangle_teacher")
def triangle_teacher(config: ml_collections.ConfigDict) -> None:
    """As Intrinsic-T, but each question is rewarded by itself with 1 - |2p - 1|."""
    config.teacher.update(reward="triangle", reward_unit="question", solver_samples=16)
    _teach_by_questions(config)


@METHODS.register("r_zero_teacher")
def r_zero_teacher(config: ml_collections.ConfigDict) -> None:
    """R-Zero's proposer reward (arXiv 2508.05004), of each question by itself."""
    triangle_teacher(config)
    config.teacher.reward = "r_zero"


@METHODS.register("absolute_zero_teacher")
def absolute_zero_teacher(config: ml_collections.ConfigDict) -> None:
    """Absolute Zero's proposer reward (arXiv 2505.03335), of each question by itself."""
    triangle_teacher(config)
    config.teacher.reward = "absolute_zero"


@METHODS.register("base_teacher")
def base_teacher(config: ml_collections.ConfigDict) -> None:
    """Base-T (paper): fresh students trained on questions of the untrained teacher and on hard train."""
    config.num_outer_steps = 0
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)


@METHODS.register("hard_only")
def hard_only(config: ml_collections.ConfigDict) -> None:
    """Hard-Only (paper): students trained on the hard problems themselves."""
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("hard_only",)


@METHODS.register("hard_only_large_group")
def hard_only_large_group(config: ml_collections.ConfigDict) -> None:
    """Hard-Only with four times the samples a problem (paper: groups of 128 instead of 32)."""
    hard_only(config)
    config.inner.group_size *= 4


@METHODS.register("hard_only_long")
def hard_only_long(config: ml_collections.ConfigDict) -> None:
    """Hard-Only with 6,500 steps instead of 1,500 (paper: on HARP)."""
    hard_only(config)
    config.final.num_steps = config.final.num_steps * 13 // 3


@METHODS.register("serl")
def serl(config: ml_collections.ConfigDict) -> None:
    """SeRL (arXiv 2505.20347): self-play from seed problems with majority-vote self-reward and filters.

    At language models with the settings of its authors' scripts for Llama-3.2-3B-Instruct. Departures from these:
    questions continue openings instead of examples, labels have samples of their own, a batch is updated on once, and
    the learning rate falls to 0 instead of a tenth.
    """
    config.num_outer_steps = 0
    config.curriculum.source = "none"
    config.final.students = ("self_play",)
    if config.problems.source == cross_rules.ARITHMETIC:
        return
    config.final.update(num_steps=100, test_every=50, warmup_steps=3, report_at="step", report_step=100)
    config.inner.update(questions_per_step=16, group_size=16)
    config.student.update(learning_rate=5e-7, adam_b2=0.95, weight_decay=0.0, reward="right", kl="k1_in_reward")
    config.teacher.temperature = 0.8
    config.self_play.update(questions_per_episode=256, max_similarity=0.7)  # 160 are trained on, and many are filtered


@METHODS.register("curated")
def curated(config: ml_collections.ConfigDict) -> None:
    """Upper bound (paper): fresh students trained on true problems that are not hard ones, and on hard train."""
    config.num_outer_steps = 0
    config.curriculum.source = "curated"
    config.final.students = ("curriculum",)


@METHODS.register("curated_128")
def curated_128(config: ml_collections.ConfigDict) -> None:
    """As the upper bound, with 128 problems of MATH's train split (paper)."""
    curated(config)
    config.curriculum.num_curated = 128


@METHODS.register("curated_harp_128")
def curated_harp_128(config: ml_collections.ConfigDict) -> None:
    """As the upper bound, with 128 problems of HARP (paper)."""
    curated_128(config)
    if config.problems.source != cross_rules.ARITHMETIC:
        config.curriculum.update(curated_source="harp", curated_path="HARP.jsonl.zip", levels=())


def _teach_by_questions(config: ml_collections.ConfigDict) -> None:
    """Fresh students are trained on questions that the teacher writes after the outer loop."""
    config.curriculum.source = "teacher"
    config.final.students = ("curriculum",)
