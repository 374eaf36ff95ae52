"""The sections of a run's config. The defaults are the paper's protocol at Llama-3.2-3B-Instruct.

`paper` gives the paper's value and its place where there is one (Table 3 is the paper's table of settings; B.5 to B.8
are its appendices). Where a default is not the paper's, the comment beside it says why. `scales.py` lists what other
scales change.
"""

from __future__ import annotations

import dataclasses

from soar_jax.config.fields import (
    Section,
    at_least,
    contains,
    each_of,
    integers,
    integers_or_none,
    known_source,
    one_of,
    positive,
    registered,
    satisfies,
    section,
    setting,
)

AUTO = "auto"  # of a model's dtype and attention: what suits the devices

_ONE = at_least(1)
_ABOVE_ZERO = satisfies(positive, "it must be more than 0")
_TEMPERATURE = at_least(0, "greedy")
_TOP_P = satisfies(lambda value: 0 < value <= 1, "it must be in (0, 1]")
_BETA = satisfies(lambda value: 0 <= value < 1, "it must be in [0, 1)")
SEED = satisfies(lambda value: 0 <= value < 2**32, f"it must be 0 to {2**32 - 1}")

TEACHER_PROMPT = """Write one new, self-contained mathematics problem about {subject}, with one final answer that \
can be checked automatically. Give the problem in <question> tags and only its final answer in <answer> tags, like this:

"""
EXAMPLES = (
    """<question>
A rectangle is 3 cm wide and 5 cm long. What is its area in square centimetres?
</question>
<answer>15</answer>""",
    """<question>
Ana has 12 apples. She gives 4 to Ben and buys 7 more. How many apples has she now?
</question>
<answer>15</answer>""",
    """<question>
A train travels 180 km in 3 hours. How many kilometres does it travel in one hour?
</question>
<answer>60</answer>""",
)


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
        "bfloat16; not tried on one yet). 'auto' is splash on TPUs, and plain elsewhere and with windows",
        one_of(AUTO, "plain", "splash", "cudnn"),
        execution_only=True,
    )
    int8_cache: bool = setting(
        False,
        "KV cache as 8-bit integers, about half the bytes of bfloat16. All answers then differ a little from those of "
        "the policy that is trained",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoRASection(Section):
    """Low-rank adapters on a frozen base (LoRA, arXiv 2106.09685), in place of training the whole model."""

    rank: int = setting(0, "rank of the adapters; 0 trains the whole model", at_least(0, "off"))
    scale: float = setting(2.0, "factor on what adapters add to a layer (alpha / rank in other libraries)")
    layers: tuple[str, ...] = setting(
        ("query", "key", "value", "out", "gate", "up", "down"),
        "layers with adapters; also 'unembedding', where it is not tied",
        each_of("query", "key", "value", "out", "gate", "up", "down", "unembedding"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldsSection(Section):
    """For the source 'jsonl': which field of a row holds what. Dots are not paths."""

    question: str = setting("", "field of the question")
    answer: str = setting("", "field of the true answer")
    subject: str = setting("", "field of the subject; empty: none")
    level: str = setting("", "field of the level; empty: none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSection(Section):
    """Problems with true answers."""

    source: str = setting("math", "'arithmetic', or the benchmark at `path`", known_source)
    path: str = setting(
        "hf:EleutherAI/hendrycks_math",
        "a .jsonl, .json or .zip file, 'hf:OWNER/NAME[:CONFIG[:SPLIT]]' or 'tfds:NAME[:SPLIT]'",
        paper="the 5,000 problems of MATH's official test split (B.5)",
    )
    fields: FieldsSection = section(FieldsSection, "fields of the source 'jsonl'")
    topic: str = setting("dial", "topic of the source 'arithmetic'")
    levels: tuple[int, ...] = setting(
        (), "levels of the problems, cycled through by 'arithmetic'; of a benchmark none means all", integers_or_none
    )
    seed: int = setting(0, "seed of the choice of problems, the same for all runs", SEED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferSection(SourceSection):
    """Problems of another kind, evaluated once at the end and never trained on."""

    source: str = setting("olympiadbench", "as problems.source", known_source, paper="OlympiadBench (section 4)")
    path: str = setting("hf:Hothan/OlympiadBench:OE_TO_maths_en_COMP", "as problems.path")
    topic: str = setting("mirror", "topic of the source 'arithmetic'")
    num_problems: int = setting(674, "problems at most", _ONE, paper="674, of which 158 are tested (B.5)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptsSection(Section):
    """Prompt templates. Text is inserted into them, never interpreted."""

    student: str = setting(
        "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
        "student's prompt",
        contains("{question}", "students would be asked nothing"),
    )
    teacher: str = setting(
        TEACHER_PROMPT + EXAMPLES[0],
        "teacher's prompt, fixed except for {subject}: no hard problem is ever shown to the teacher",
    )
    teacher_opening: str = setting("<question>\n", "text that the teacher's completion begins with")
    from_seed: str = setting(
        "Continue this into one complete mathematics problem, and write nothing but the problem: {opening}",
        "self-play: prompt with the first words of a seed problem",
        contains("{opening}", "self-play would see no seed"),
    )
    opening_words: int = setting(8, "self-play: words of a seed problem that are shown")
    chat: bool = setting(True, "put prompts into the model's chat template", paper="none is mentioned (B.7)")
    system: str = setting("", "system turn of the chat; empty: none")
    subjects: tuple[str, ...] = setting(
        (
            "algebra",
            "counting and probability",
            "geometry",
            "intermediate algebra",
            "number theory",
            "prealgebra",
            "precalculus",
        ),
        "for {subject} in the teacher's prompt; rollouts cycle through them",
        paper="the same seven, in one line of the prompt (B.7)",
    )
    teacher_format: str = setting(
        "tags",
        "how question and answer are marked in the teacher's text: 'separator' (`question_end` between them) or 'tags' "
        "(<question>…</question> <answer>…</answer>)",
        one_of("separator", "tags"),
        paper="tags (section 3)",
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
        "answer formats, tried in turn: 'after_equals', 'boxed', 'hash_marks', 'last_number'",
        satisfies(lambda value: len(value) > 0, "name at least one extractor"),
        registered,
        paper="boxed (section 3)",
    )
    equivalence: str = setting(
        "math",
        "'text', or 'math': the same mathematical object in any notation",
        one_of("text", "math"),
        paper="Math-Verify (section 4)",
    )
    num_workers: int = setting(4, "processes for what only computer algebra can decide", _ONE, execution_only=True)
    deadline_s: float = setting(5.0, "seconds of one such comparison", _ABOVE_ZERO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardSubsetSection(Section):
    """The search for problems that the base model never solves."""

    num_candidates: int = setting(6_000, "problems that are tried at most", _ONE, paper="5,000 of MATH (B.5)")
    num_samples: int = setting(128, "keep what the base model solves 0 times of this", _ONE, paper="128 (section 4)")
    samples_per_round: int = setting(16, "samples drawn at once; a problem solved in a round leaves the search", _ONE)
    temperature: float = setting(1.0, "temperature of the search", _TEMPERATURE, paper="1.0 (B.5)")
    top_p: float = setting(1.0, "nucleus sampling; 1 is off", _TOP_P)
    validation_share: float = setting(
        1 / 3,
        "share of the train half that chooses the promoted student to be tested",
        satisfies(lambda value: 0 < value < 1, "it must be between 0 and 1"),
        paper="no validation set (B.5)",  # ours keeps one, so that a choice is not made on training problems
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OuterSection(Section):
    """The outer loop."""

    num_datasets: int = setting(4, "g: datasets of an outer step", _ONE, paper="4 (Table 3)")
    questions_per_dataset: int = setting(64, "n: questions of a dataset", _ONE, paper="64 (Table 3)")
    students_per_dataset: int = setting(4, "r: students trained on each dataset", _ONE, paper="4 (Table 3)")
    num_reward_questions: int = setting(64, "|Q_R|: hard train problems of a reward", _ONE, paper="64 (section 3)")
    reward_temperature: float = setting(
        0.0, "temperature of answers to reward questions; 0 is greedy", at_least(0), paper="greedy (section 3)"
    )
    reward_samples: int = setting(1, "answers to each reward question", _ONE, paper="1 (section 3)")
    stop_at_validation: float = setting(
        1.1,
        "end the search when the baseline student solves this share of hard validation (mean over samples); above 1: "
        "never",
        satisfies(positive, "the run would stop after its first step"),
        paper="never (Table 3: 200 steps)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromotionSection(Section):
    """When a trained student becomes the baseline."""

    rule: str = setting(
        "moving_average", "the rule", registered, paper="moving average (section 3)", legacy="moving_average"
    )
    threshold: float = setting(0.01, "tau", paper="0.01 (Table 3)")
    window: int = setting(3, "outer steps of the moving average", _ONE, paper="3 (Table 3)")
    statistic: str = setting(
        "mean", "statistic of a step's g rewards: 'mean' or 'best'", one_of("mean", "best"), paper="mean (section 3)"
    )
    student: str = setting(
        "step_best",
        "who is promoted: this step's best student, or the window's",
        one_of("step_best", "window_best"),
        paper="the student with the median reward of this step's best dataset (section 3)",
    )
    needs_step_reward: bool = setting(
        False, "also require this step's best reward to exceed tau", paper="False (section 3)"
    )

    @property
    def num_kept_students(self) -> int:
        """Best students of earlier steps that a promotion may take."""
        return self.window - 1 if self.student == "window_best" else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerSection(Section):
    """The inner loop: one student's RL episode."""

    num_steps: int = setting(10, "student steps of an episode", _ONE, paper="10, and 5 more once promoted (section 3)")
    questions_per_step: int = setting(8, "questions of a student step", _ONE, paper="8 (Table 3)")
    group_size: int = setting(
        32,
        "answers to each question",
        satisfies(lambda value: value >= 2, "RLOO needs at least 2 samples a question"),
        paper="32 (Table 3)",
    )
    students_at_once: int = setting(
        # Four whole models in training are 155 GB: 16 chips of 32 GB or 32 of 16 GB hold them beside the teacher's.
        4,
        "students trained and measured together, in waves of whole datasets; 0: all",
        execution_only=True,
    )
    advantage: str = setting("rloo", "advantage within a group", registered, paper="RLOO (section 3)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicySection(Section):
    """How one kind of policy, teacher or student, samples and learns."""

    temperature: float = setting(
        1.0,
        "sampling temperature",
        satisfies(positive, "training needs samples that differ, so use more than 0"),
        paper="1.0 (Table 3)",
    )
    max_completion_tokens: int = setting(1024, "tokens of a completion at most", _ONE, paper="1,024 (Table 3)")
    learning_rate: float = setting(1e-5, "learning rate", _ABOVE_ZERO, paper="1e-5 (Table 3)")
    adam_b1: float = setting(0.9, "Adam's first moment decay", _BETA)
    adam_b2: float = setting(0.99, "Adam's second moment decay", _BETA)
    adam_eps: float = setting(1e-8, "Adam's epsilon", _ABOVE_ZERO)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this global norm", _ABOVE_ZERO)
    updates_per_batch: int = setting(1, "updates on each batch; more than 1 needs clip_ratio", _ONE)
    clip_ratio: float = setting(0.0, "epsilon of the clipped surrogate; 0: plain RLOO", at_least(0, "off"))
    kl_coef: float = setting(
        0.0,
        "weight of the KL divergence to the policy that training starts from (k3, in the loss); 0 leaves it out",
        at_least(0, "off"),
        paper="0.001 (Table 3)",
    )
    rows_per_micro_batch: int = setting(4, "rows of a gradient accumulation step", _ONE, execution_only=True)
    bucket_tokens: tuple[int, ...] = setting(
        (),
        "lengths in tokens to which completions are padded in training, besides their limit; each is one more loop to "
        "compile",
        integers_or_none,
        execution_only=True,
    )
    logprob_chunk_tokens: int = setting(
        1024, "tokens whose full-vocabulary logits are held at once", _ONE, execution_only=True
    )
    remat: str = setting(
        "layers",
        "what the backward pass recomputes: 'none', 'layers' (layers keep only their input) or 'dots' (they also keep "
        "the results of matrix products)",
        one_of("none", "layers", "dots"),
        execution_only=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentSection(PolicySection):
    """The students, in the inner loop and at the end."""

    reward: str = setting(
        "right",
        "reward of an answer: 'right' is 1 for one that equals the question's answer and 0 for others",
        registered,
        paper="120, 20, 10 or 0 (section 3)",
        legacy="right",
    )
    bucket_tokens: tuple[int, ...] = setting((512,), "as teacher.bucket_tokens", integers_or_none, execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSection(PolicySection):
    """The teacher."""

    max_completion_tokens: int = setting(512, "tokens of a completion at most", _ONE, paper="512 (Table 3)")
    train: bool = setting(True, "False freezes the teacher")
    reward: str = setting(
        "grounded",
        "'grounded': students' improvement; of the questions alone: 'learnability', 'r_zero', 'absolute_zero'",
        registered,
        paper="grounded (section 3)",
    )
    solver_samples: int = setting(
        16, "the baseline student's answers to a question, for rewards of the questions alone", _ONE, paper="32 (B.6)"
    )
    invalid_penalty: float = setting(
        1.0,
        "advantage of a rollout that cannot be parsed: -this * the largest |advantage|",
        at_least(0, "off"),
        paper="none: such rollouts are sampled again (section 3)",
    )


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
    levels: tuple[int, ...] = setting((1, 2, 3, 4, 5), "levels of the source 'curated'", integers_or_none)
    schedule: str = setting(
        "mixed",
        "'then_hard': datasets or levels one after the other, then hard train problems; 'mixed': all in one pool",
        registered,
        paper="mixed on HARP and OlympiadBench; 64 steps, then hard train, on MATH (B.6)",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalSection(Section):
    """Fresh students, trained and tested after the outer loop."""

    students: tuple[str, ...] = setting(
        ("curriculum", "hard_only"),
        "kinds: 'curriculum', 'true_answers' and 'random_answers' (its answers replaced), 'promoted' (the promoted "
        "student, trained further on hard train problems), 'hard_only', 'self_play' (SeRL)",
        registered,
    )
    num_steps: int = setting(100, "student steps, the same for all methods", _ONE, paper="1,500 at most (Table 3)")
    num_replicas: int = setting(4, "students of each kind, whose results are averaged", _ONE, paper="3 to 6 (B.8)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfPlaySection(Section):
    """SeRL (arXiv 2505.20347): students that write and label their own questions."""

    questions_per_episode: int = setting(16, "questions that a student writes each episode", _ONE)
    label_samples: int = setting(16, "answers whose majority becomes the label", _ONE)
    agreement: tuple[float, ...] = setting((0.2, 0.8), "share of the majority with which a question is kept")
    max_similarity: float = setting(0.95, "share of words in common with an earlier question or a seed, at most")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisSection(Section):
    """Diversity and quality of the questions."""

    embeddings: str = setting(
        "model",
        "'model', or 'sentence-transformers:NAME' with the extra `embeddings`",
        paper="Qwen3-Embedding-8B (Table 1)",
    )
    judge: str = setting(
        "self_consistency",
        "who decides whether questions are well posed and answers right: 'world' (exact), 'self_consistency', "
        "'endpoint' (extra `judge`; OPENAI_BASE_URL and OPENAI_API_KEY in the environment) or 'none'",
        one_of("world", "self_consistency", "endpoint", "none"),
        paper="Claude 4.5 Sonnet (Table 7)",
    )
    judge_questions: int = setting(
        256, "questions that are judged at most; 'world' judges all", _ONE, paper="375 to 384 (Table 7)"
    )
    judge_samples: int = setting(16, "answers of self_consistency to a question", _ONE)
    judge_agreement: float = setting(0.5, "share of the majority that makes a question well posed")
    judge_model: str = setting("", "model of the endpoint")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section):
    """Tests of policies."""

    num_samples: int = setting(32, "answers to each test problem", _ONE, paper="32 (section 4)")
    pass_at: tuple[int, ...] = setting((1, 4, 8, 16, 32), "k of pass@k", integers, paper="1, 4, 8, 16, 32 (section 4)")
    temperature: float = setting(1.0, "temperature of tests; 0 is greedy", _TEMPERATURE)
    top_p: float = setting(1.0, "nucleus sampling; 1 is off", _TOP_P)
    validation_samples: int = setting(16, "answers to each hard validation problem", _ONE)
    problems_per_call: int = setting(32, "problems of one call of the compiled program", _ONE, execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshSection(Section):
    """Sizes of the mesh axes; -1 takes the devices that are left."""

    population: int = setting(4, "shards of the students", execution_only=True)
    data: int = setting(1, "shards of a batch's rows, each with a copy of the parameters", execution_only=True)
    fsdp: int = setting(-1, "shards of rows and of parameters", execution_only=True)
    tensor: int = setting(2, "shards of heads, hidden dimension and vocabulary", execution_only=True)
    cpu_devices: int = setting(2, "devices that a CPU is split into, at most its cores", execution_only=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSection(Section):
    """How sampling uses a device."""

    max_slots: int = setting(16, "rows that a device decodes at once", _ONE, execution_only=True)
    population_batch: int = setting(
        1, "students that a device runs at once: 1 on a CPU, more on accelerators", _ONE, execution_only=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointsSection(Section):
    """Which checkpoints are kept."""

    keep: int = setting(2, "number of newest checkpoints to keep", _ONE, execution_only=True)
    keep_every: int = setting(0, "also keep every N-th step; 0 is off", at_least(0, "none"), execution_only=True)
