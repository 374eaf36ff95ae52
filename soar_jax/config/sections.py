"""The sections of a run's config. The defaults are the paper's protocol at Llama-3.2-3B-Instruct.

`paper` gives the paper's value and its place where there is one (Table 3 is the paper's table of settings; B.5 to B.8
are its appendices). Where a default is not the paper's, the comment beside it says why. `scales.py` lists what other
scales change.
"""

from __future__ import annotations

import dataclasses

from soar_jax.config import prompt_texts
from soar_jax.config.fields import (
    Section,
    at_least,
    contains,
    distinct,
    fraction,
    integers,
    integers_or_none,
    known_source,
    one_of,
    positive,
    registered,
    satisfies,
    section,
    setting,
    source_or,
    text_or_name,
    two_shares,
)
from soar_jax.registry import registry

AUTO = "auto"  # of a model's dtype and attention: what suits the devices
# Of `soar_jax/problems/arithmetic.py`, which the config may not import; a test compares them.
ARITHMETIC_TOPICS = ("dial", "mirror")
MAX_ARITHMETIC_LEVEL = 8

_ONE = at_least(1)
_ABOVE_ZERO = satisfies(positive, "it must be more than 0")
_TEMPERATURE = at_least(0, "greedy")
_TOP_P = satisfies(lambda value: 0 < value <= 1, "it must be in (0, 1]")
_TOPIC = one_of(*ARITHMETIC_TOPICS)
SEED = satisfies(lambda value: 0 <= value < 2**32, f"it must be 0 to {2**32 - 1}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSection(Section):
    """The base model, of which teacher and students are copies."""

    source: str = setting(
        "meta-llama/Llama-3.2-3B-Instruct",
        "'embedded:nano', a Hugging Face folder or hub id, or a GGUF file",
        paper="Llama-3.2-3B-Instruct (section 4)",
    )
    dtype: str = setting(
        AUTO,
        "dtype of compute: 'auto' is bfloat16 on TPUs and GPUs and float32 on CPUs, where that is faster. Trained "
        "parameters are float32 always",
        one_of(AUTO, "float32", "bfloat16"),
    )
    attention: str = setting(
        AUTO,
        "attention over whole rows: 'plain', or a kernel that holds no scores, 'splash' (TPU) or 'cudnn' (GPU, "
        "bfloat16; compiled for GPUs, not run on one yet). 'auto' is the device's kernel where it can do the model: no "
        "sliding windows, and for cuDNN bfloat16 and heads of at most 128 dimensions. Elsewhere it is plain",
        one_of(AUTO, "plain", "splash", "cudnn"),
        execution_only=True,
    )
    int8_cache: bool = setting(
        False,
        "KV cache as 8-bit integers, about half the bytes of bfloat16. All answers then differ a little from those of "
        "the policy that is trained",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldsSection(Section):
    """For the source 'jsonl': which field of a row holds what, by its name or its path through objects and lists."""

    question: str = setting("", "field of the question, or its path (`prompt.0.content`)")
    answer: str = setting("", "field of the true answer, or its path (`reward_model.ground_truth`)")
    subject: str = setting("", "field of the subject; empty: none")
    level: str = setting("", "field of the level; empty: none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSection(Section):
    """Problems with true answers."""

    source: str = setting("math", "'arithmetic', or the format of the benchmark at `path`", known_source)
    path: str = setting(
        "hf:EleutherAI/hendrycks_math::test",
        "a .jsonl, .json, .csv, .parquet or .zip file, 'hf:OWNER/NAME[:CONFIG[:SPLIT]]' or 'tfds:NAME[:SPLIT]'",
        paper="the 5,000 problems of MATH's official test split (B.5)",
    )
    fields: FieldsSection = section(FieldsSection, "fields of the source 'jsonl'")
    topic: str = setting("dial", "topic of the source 'arithmetic'", _TOPIC)
    levels: tuple[int, ...] = setting(
        (), "levels of the problems, cycled through by 'arithmetic'; of a benchmark none means all", integers_or_none
    )
    seed: int = setting(0, "seed of the choice of problems, the same for all runs", SEED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferSection(SourceSection):
    """Problems of another kind, evaluated once at the end and never trained on.

    The paper's transfer is a run of its own: the scale's benchmark `olympiadbench`, with `source_run`.
    """

    source: str = setting(
        "none",
        "as problems.source, or 'none'",
        source_or("none"),
        paper="OlympiadBench, in runs of its own (section 5)",
    )
    path: str = setting("", "as problems.path")
    topic: str = setting("mirror", "topic of the source 'arithmetic'", _TOPIC)
    num_problems: int = setting(674, "problems at most", _ONE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptsSection(Section):
    """Prompt templates. Text is inserted into them, never interpreted."""

    student: str = setting(
        prompt_texts.STUDENT["frame"],
        "student's prompt: a text, or the name of one: 'frame' (plain text), 'step_by_step' (for a chat)",
        contains(
            "{question}",
            f"students would be asked nothing; give a text with it, or one of {', '.join(prompt_texts.STUDENT)}",
        ),
        paper="a plain-text frame of this content (B.1)",
    )
    teacher: str = setting(
        prompt_texts.TEACHER["topics"],
        "teacher's prompt, fixed except for {subject}: no hard problem is ever shown to the teacher. A text, or the "
        "name of one: 'topics' (no examples), 'one_example', 'three_examples' (both with {subject} and an opening), "
        "'teacher' (that word alone)",
        text_or_name(prompt_texts.TEACHER),
        paper="a prompt of this content (B.1)",
    )
    teacher_opening: str = setting("", "text that the teacher's completion begins with")
    answer_request: str = setting(
        "\n\nNow give the final answer to this problem as <answer>\\boxed{...}</answer>:\n",
        "with teacher.turns=2: text between the teacher's question and its second completion, the answer",
    )
    from_seed: str = setting(
        "Continue this into one complete mathematics problem, and write nothing but the problem: {opening}",
        "self-play: prompt with the first words of a seed problem",
        contains("{opening}", "self-play would see no seed"),
    )
    opening_words: int = setting(8, "self-play: words of a seed problem that are shown", _ONE)
    chat: bool = setting(False, "put prompts into the model's chat template", paper="none is mentioned (B.1)")
    system: str = setting("", "system turn of the chat; empty: none")
    subjects: tuple[str, ...] = setting(
        (),
        "for {subject} in the teacher's prompt; rollouts cycle through them",
        paper="none: seven topics stand in one line of the prompt (B.1)",
    )
    teacher_format: str = setting(
        "boxed_tags",
        "how question and answer are marked in the teacher's text: 'boxed_tags' (<question>…</question> "
        "<answer>\\boxed{…}</answer>, all tags closed, the answer readable by the grader), 'tags' (the same, read "
        "leniently) or 'separator' (`question_end` between them)",
        one_of("boxed_tags", "tags", "separator"),
        paper="boxed_tags (B.2)",
    )
    question_end: str = setting("?", "the separator", satisfies(bool, "it must end the teacher's question"))
    bucket_tokens: tuple[int, ...] = setting(
        (128, 256, 512), "lengths in tokens; prompts are padded to the smallest that fits", integers
    )

    @property
    def num_teacher_prompts(self) -> int:
        """Prompts that the teacher's rollouts share: one a subject."""
        return len(self.subjects) or 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradingSection(Section):
    """How final answers are found and compared."""

    extraction: tuple[str, ...] = setting(
        ("boxed",),
        "answer formats, tried in turn",
        satisfies(lambda value: len(value) > 0, "name at least one extractor"),
        registered,
        paper="boxed (B.3)",
    )
    equivalence: str = setting(
        "math",
        "'math': the same mathematical object in any notation",
        one_of("text", "math"),
        paper="Math-Verify (B.3)",
    )
    num_workers: int = setting(4, "processes for what only computer algebra can decide", _ONE, execution_only=True)
    deadline_s: float = setting(
        5.0,
        "work of one such comparison, in seconds of 5 million calls and returns each, which are counted: the verdict "
        "does not depend on the load of the machine",
        _ABOVE_ZERO,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSubsetSection(Section):
    """The search for problems that the base model never solves."""

    num_candidates: int = setting(5_000, "problems that are tried at most", _ONE, paper="5,000 of MATH (B.5)")
    num_samples: int = setting(128, "keep what the base model solves 0 times of this", _ONE, paper="128 (section 4)")
    samples_per_round: int = setting(16, "samples drawn at once; a problem solved in a round leaves the search", _ONE)
    temperature: float = setting(1.0, "temperature of the search", _TEMPERATURE, paper="1.0 (B.5)")
    top_p: float = setting(1.0, "nucleus sampling; 1 is off", _TOP_P)
    validation_share: float = setting(
        0.0,
        "share of the train half that chooses the promoted student to be tested; 0: greedy accuracy on all of hard "
        "train chooses",
        satisfies(lambda value: 0 <= value < 1, "it must be 0 or more, and below 1"),
        paper="0 (section 4)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OuterSection(Section):
    """The outer loop."""

    num_datasets: int = setting(4, "g: datasets of an outer step", _ONE, paper="4 (Table 3)")
    questions_per_dataset: int = setting(64, "n: questions of a dataset", _ONE, paper="64 (Table 3)")
    students_per_dataset: int = setting(4, "r: students trained on each dataset", _ONE, paper="4 (Table 3)")
    num_reward_questions: int = setting(64, "|Q_R|: hard train problems of a reward", _ONE, paper="64 (section 4)")
    reward_temperature: float = setting(
        0.0, "temperature of answers to reward questions; 0 is greedy", at_least(0), paper="greedy (section 3)"
    )
    reward_samples: int = setting(1, "answers to each reward question", _ONE, paper="1 (section 3)")
    stop_at_validation: float = setting(
        1.1,
        "end the search when the baseline student solves this share of the problems that choose the promoted student; "
        "above 1: never",
        satisfies(positive, "the run would stop after its first step"),
        paper="never (B.7: 200 steps at most)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromotionSection(Section):
    """When a trained student becomes the baseline."""

    rule: str = setting(
        "moving_average", "the rule", registered, paper="moving average (section 3)", legacy="moving_average"
    )
    threshold: float = setting(0.01, "tau", paper="0.01 (Table 3)")
    window: int = setting(3, "outer steps of the moving average", _ONE, paper="3 (Table 3)")
    statistic: str = setting("mean", "statistic of a step's g rewards", one_of("mean", "best"), paper="mean (B.3)")
    student: str = setting(
        "step_median",
        "who is promoted: of this step's best dataset the student with the median reward or the best one, or the best "
        "one of the window's best datasets",
        one_of("step_median", "step_best", "window_best"),
        paper="step_median (B.3)",
    )
    even_median: str = setting(
        # The lower one: a promotion is not to rest on the luckier half of the students.
        "lower",
        "which of the two middle students is the median of an even number",
        one_of("lower", "upper"),
        legacy="lower",
    )
    clears_window: bool = setting(
        # Rewards before a promotion were measured against another baseline student.
        True,
        "empty the window after a promotion",
        legacy=True,
    )
    needs_full_window: bool = setting(
        # A mean over fewer steps than the window is not the paper's moving average.
        True,
        "promote only when the window is full",
        legacy=True,
    )
    needs_step_reward: bool = setting(
        False, "also require this step's best reward to exceed tau", paper="False (section 3)"
    )

    @property
    def num_kept_students(self) -> int:
        """Candidates of earlier steps that a promotion may take."""
        return self.window - 1 if self.student == "window_best" and self.promotes else 0

    @property
    def promotes(self) -> bool:
        """Whether the rule may promote a student."""
        return bool(registry("promotion.rule")[self.rule].promotes)


# Whole models in training at once: four of 3B are 155 GB, which 16 chips of 32 GB or 32 of 16 GB hold beside the rest.
WHOLE_MODELS_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerSection(Section):
    """The inner loop: one student's RL episode."""

    num_steps: int = setting(10, "student steps of an episode", _ONE, paper="10 (B.7)")
    steps_per_promotion: int = setting(
        5, "student steps by which a promotion makes episodes longer", at_least(0, "none"), paper="5 (B.7)", legacy=0
    )
    max_steps: int = setting(20, "student steps of an episode at most", _ONE, paper="20 (section 6)", legacy=20)
    questions_per_step: int = setting(8, "questions of a student step", _ONE, paper="8 (Table 3)")
    group_size: int = setting(
        32,
        "answers to each question",
        satisfies(lambda value: value >= 2, "RLOO needs at least 2 samples a question"),
        paper="32 (Table 3)",
    )
    students_at_once: int = setting(
        -1,
        "students trained and measured together, in waves of whole datasets; 0: all; -1: all where adapters are "
        f"trained, otherwise {WHOLE_MODELS_AT_ONCE} or those of one dataset",
        at_least(-1),
        execution_only=True,
    )
    update_batch: int = setting(
        1,
        "students whose updates a device computes at once; more than 1 fills an accelerator with a small model",
        _ONE,
        execution_only=True,
        legacy=1,
    )
    advantage: str = setting("rloo", "advantage within a group", registered, paper="RLOO (section 3)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurriculumSection(Section):
    """The questions of the final students."""

    source: str = setting(
        "promotions",
        "'promotions' (the promotion questions), 'teacher' (written by the teacher as the outer loop leaves it), "
        "'curated' (true problems) or 'none'",
        registered,
        paper="promotions (PQ, section 4)",
    )
    num_questions: int = setting(128, "questions of the source 'teacher'", _ONE, paper="128 (section 4)")
    keep: str = setting(
        "all",
        "which questions of a `source_run` are kept: 'all', or those that its judge called 'right' or 'well_posed'",
        one_of("all", "right", "well_posed"),
        paper="all; 'right' and 'well_posed' in ablations (C.5)",
        legacy="all",
    )
    curated_source: str = setting(
        "math", "as problems.source, of the source 'curated'; empty: the problems themselves", source_or(""), legacy=""
    )
    curated_path: str = setting(
        "hf:EleutherAI/hendrycks_math",
        "as problems.path, of the source 'curated'",
        paper="MATH's train split (section 4)",
        legacy="",
    )
    num_curated: int = setting(
        0,
        "problems of the source 'curated'; 0: all",
        at_least(0, "all"),
        paper="6,750 (section 4), or 128 (C.2)",
        legacy=0,
    )
    levels: tuple[int, ...] = setting((1, 2, 3, 4, 5), "levels of the source 'curated'", integers_or_none)
    schedule: str = setting(
        "warm_start",
        "'warm_start': one pool of all synthetic questions for `warm_start_steps`, then hard train problems; 'mixed': "
        "all in one pool; 'then_hard': datasets or levels one after the other, then hard train problems",
        registered,
        paper="warm_start on MATH; mixed on HARP and OlympiadBench (B.6)",
    )
    warm_start_steps: int = setting(
        64, "student steps of 'warm_start' on synthetic questions", _ONE, paper="64 (B.6)", legacy=64
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalSection(Section):
    """Fresh students, trained and tested after the outer loop."""

    students: tuple[str, ...] = setting(
        ("curriculum", "hard_only"),
        "kinds: 'curriculum', 'true_answers' and 'random_answers' (its answers replaced), 'promoted' (the promoted "
        "student, trained further on hard train problems), 'hard_only', 'self_play' (SeRL)",
        registered,
        distinct,
    )
    num_steps: int = setting(1500, "student steps, the same for all methods", _ONE, paper="1,500 (Table 3)")
    num_replicas: int = setting(4, "students of each kind, whose results are averaged", _ONE, paper="2 or more (B.8)")
    warmup_steps: int = setting(
        20,
        "as student.warmup_steps, of final students; 'warm_start' has none",
        at_least(0, "none"),
        paper="0 or 20 (Table 3, B.7)",
        legacy=0,
    )
    report_at: str = setting(
        "plateau",
        "which tests are reported: 'plateau' (the mean over those in the `report_steps` after the reward has levelled "
        "off), 'step' (that at `report_step`) or 'end'",
        one_of("plateau", "step", "end"),
        paper="plateau on MATH and HARP, step on OlympiadBench (B.6)",
        legacy="end",
    )
    report_step: int = setting(50, "student step of 'step'", _ONE, paper="50 (B.6)", legacy=50)
    report_steps: int = setting(200, "student steps of 'plateau'", _ONE, paper="200 (B.6)", legacy=200)
    plateau_smoothing: int = setting(
        25, "student steps of the centred mean of the training reward", _ONE, paper="25 (B.6)", legacy=25
    )
    plateau_slope: float = setting(
        0.15,
        "the reward has levelled off where its slope falls below this share of the steepest",
        satisfies(lambda value: 0 < value < 1, "it must be between 0 and 1"),
        paper="0.15 (B.6)",
        legacy=0.15,
    )
    test_every: int = setting(
        # Four tests in the 200 steps; a test of 360 problems costs as much as 45 student steps.
        50,
        "student steps between tests on the way; 0: only at the end",
        at_least(0, "none"),
        legacy=0,
    )
    validate_every: int = setting(
        10,
        "student steps between validations on the way, where there is a validation set",
        _ONE,
        legacy=10,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfPlaySection(Section):
    """SeRL (arXiv 2505.20347): students that write and label their own questions."""

    questions_per_episode: int = setting(16, "questions that a student writes each episode", _ONE)
    label_samples: int = setting(16, "answers whose majority becomes the label", _ONE)
    agreement: tuple[float, ...] = setting(
        (0.2, 0.8), "share of the majority with which a question is kept", two_shares
    )
    max_similarity: float = setting(
        0.95, "share of words in common with an earlier question or a seed, at most", fraction
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section):
    """Tests of policies."""

    num_samples: int = setting(32, "answers to each test problem", _ONE, paper="32 (section 4)")
    pass_at: tuple[int, ...] = setting(
        (1, 4, 8, 16, 32), "k of pass@k", integers, distinct, paper="1, 4, 8, 16, 32 (section 4)"
    )
    temperature: float = setting(1.0, "temperature of tests; 0 is greedy", _TEMPERATURE, paper="1.0 (Table 3)")
    top_p: float = setting(1.0, "nucleus sampling; 1 is off", _TOP_P)
    validation_samples: int = setting(16, "answers to each hard validation problem", _ONE)
    problems_per_call: int = setting(64, "problems of one call of the compiled program", _ONE, execution_only=True)
