"""Scales: which model, which problems, and the sizes that fit them. `method.py:SCALE` picks one."""

import functools
from collections.abc import Callable

import ml_collections

from soar_jax.settings import SettingsError


def scale_config(scale: str) -> ml_collections.ConfigDict:
    """All keys that every method has, set for a scale.

    Raises:
      SettingsError: there is no such scale.
    """
    scale = scale or "nano"
    if scale not in _SCALES:
        raise SettingsError(f"unknown scale {scale!r}; choose one of {', '.join(_SCALES)}")
    config = _SCALES[scale]()
    config.scale = scale
    return config


def names() -> tuple[str, ...]:
    """All scales."""
    return tuple(_SCALES)


def nano() -> ml_collections.ConfigDict:
    """The embedded model in the arithmetic world: runs anywhere in minutes, no download.

    Values marked (paper) are the paper's. The others were measured for this model; docs/nano_world.md
    has the figures.
    """
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.num_outer_steps = 40  # at most; paper: 200
    c.model = ml_collections.ConfigDict(
        {
            "source": "embedded:nano",  # or a folder with a Hugging Face checkpoint
            # Of what is computed: "float32", "bfloat16" or "auto" (bfloat16 on TPUs and GPUs, float32 on CPUs, where it
            # is faster). What is trained is float32 always.
            "dtype": "float32",
            # Of whole rows, in training and of prompts: "plain", or a kernel that holds no scores: "splash" (TPU) or
            # "cudnn" (GPU, bfloat16; not tried on one yet). "auto": splash on TPUs, plain elsewhere and with windows.
            "attention": "auto",
            # What decoding looks back at: 8-bit integers in the place of `dtype`, so a cache of about half the bytes
            # of bfloat16's. All answers then differ a little from those of the policy that is trained.
            "int8_cache": False,
        }
    )
    c.lora = ml_collections.ConfigDict(
        {
            "rank": 0,  # of low-rank adapters on a frozen base, which all policies share; 0 trains the whole model
            "scale": 2.0,  # of what adapters add to a layer (elsewhere: alpha / rank)
            "layers": ("query", "key", "value", "out", "gate", "up", "down"),  # also "unembedding", where not tied
        }
    )
    c.problems = ml_collections.ConfigDict(
        {
            # "arithmetic"; or a benchmark ("math", "gsm8k", "harp", "olympiadbench", "jsonl") at `path`.
            "source": "arithmetic",
            "path": "",  # a .jsonl, .json or .zip file, "hf:OWNER/NAME[:CONFIG[:SPLIT]]" or "tfds:NAME[:SPLIT]"
            "fields": {"question": "", "answer": "", "subject": "", "level": ""},  # of "jsonl"
            "topic": "dial",  # of "arithmetic"
            "levels": (6, 6, 7, 7, 7, 8, 8, 8, 8, 8),  # operations of the candidates, which take turns
            "seed": 2,  # of the candidates; not the run's, so that all seeds choose from the same problems
        }
    )
    # Asked once at the end, never trained on (paper: OlympiadBench).
    c.transfer = ml_collections.ConfigDict(
        {
            "source": "arithmetic",
            "path": "",
            "fields": {"question": "", "answer": "", "subject": "", "level": ""},
            "topic": "mirror",
            "levels": (6, 7, 8),
            "seed": 2,
            "num_problems": 96,
        }
    )
    c.prompts = ml_collections.ConfigDict(
        {
            "student": "exam {question} ?",
            "teacher": "teacher",
            "teacher_opening": "",  # what the teacher's turn begins with
            # Self-play: the first words of a seed problem, which the model continues to a question of its own.
            "from_seed": "teacher {opening}",
            "opening_words": 4,
            "chat": False,  # put prompts into the model's chat template,
            "system": "",  # with this system turn; empty: none
            "subjects": (),  # for {subject} in the teacher's prompt, by turns
            # How question and answer stand in the teacher's text: "separator" (`question_end` between them), or
            # "tags" (<question>…</question> <answer>…</answer>).
            "teacher_format": "separator",
            "question_end": "?",
            "bucket_tokens": (4, 15),  # prompts are padded to the smallest that fits
        }
    )
    c.grading = ml_collections.ConfigDict(
        {
            # Where the final answer is looked for, in turn: "after_equals", "boxed", "hash_marks", "last_number".
            "extraction": ("after_equals",),
            "equivalence": "text",  # or "math": the same mathematical object, however it is written
            "num_workers": 2,  # processes for what only computer algebra can decide
            "deadline_s": 5.0,  # of one such comparison
        }
    )
    c.hard_subset = ml_collections.ConfigDict(
        {
            "num_candidates": 384,
            "num_samples": 128,  # (paper) keep what the base model solves 0 times of this
            "samples_per_round": 128,  # drawn at once; what is solved in a round is asked no more
            "temperature": 1.0,
            "top_p": 1.0,
            "validation_share": 1 / 3,  # of the train half
        }
    )
    c.outer = ml_collections.ConfigDict(
        {
            "num_datasets": 8,  # g
            "questions_per_dataset": 16,  # n; paper: 64
            "students_per_dataset": 1,  # r
            "num_reward_questions": 64,  # (paper)
            # Paper: greedy, that is temperature 0 and 1 sample. This model's greedy accuracy jumps
            # from 0 to 1 and gives no early signal, so accuracy is that of 16 samples.
            "reward_temperature": 1.0,
            "reward_samples": 16,
            # Stop when the baseline student solves this share of the validation problems (mean over
            # samples); above 1 never.
            "stop_at_validation": 0.9,
        }
    )
    c.promotion = ml_collections.ConfigDict(
        {
            "threshold": 0.01,  # tau (paper)
            "window": 3,  # (paper)
            "statistic": "mean",  # of a step's rewards (paper); or "best"
            "student": "window_best",  # paper: "step_best"
            "needs_step_reward": False,  # (paper) True also asks this step's best reward to exceed tau
        }
    )
    c.inner = ml_collections.ConfigDict(
        {
            "num_steps": 10,  # (paper)
            "questions_per_step": 8,  # (paper)
            "group_size": 16,
            # Students that are trained and measured together, in waves of whole datasets; 0: all. Same results.
            "students_at_once": 0,
            "advantage": "rloo",  # (paper); or "grpo", "dr_grpo"
        }
    )
    c.student = _policy(learning_rate=3e-4, adam_b2=0.99, adam_eps=1e-3, max_completion_tokens=27)
    c.teacher = _policy(learning_rate=8e-4, adam_b2=0.99, adam_eps=1e-5, max_completion_tokens=40)
    c.teacher.train = True  # False freezes the teacher
    # "grounded": students' improvement (paper); of the questions alone: "learnability", "r_zero", "absolute_zero"
    c.teacher.reward = "grounded"
    c.teacher.solver_samples = 16  # the baseline student's answers to a question, for the rewards that need no training
    c.teacher.invalid_penalty = 1.0  # advantage of an unparsable rollout: -this * the largest |advantage|
    c.curriculum = ml_collections.ConfigDict(
        {
            # Where the questions of the final fresh students come from: "promotions" (paper: PQ), "teacher"
            # (written by the teacher as the outer loop leaves it), "curated" (true ones) or "none".
            "source": "promotions",
            "num_questions": 64,  # of the teacher; paper: 128
            "levels": (3, 4, 5, 6),  # of the curated ones
            # "then_hard": datasets or levels one after the other, then hard train problems; "mixed": all in one pool
            # (paper: "together with hard train").
            "schedule": "then_hard",
        }
    )
    c.final = ml_collections.ConfigDict(
        {
            # Fresh students that are trained and tested after the outer loop, each for `num_steps`:
            # "curriculum", "true_answers" and "random_answers" (its answers replaced), "promoted" (the promoted
            # student goes on with hard train problems), "hard_only" (paper: Hard-Only), "self_play" (SeRL).
            "students": ("curriculum", "hard_only"),
            "num_steps": 50,  # student steps; the same for all methods
            "num_replicas": 4,  # students of each kind, whose results are averaged
        }
    )
    c.self_play = ml_collections.ConfigDict(
        {
            "questions_per_episode": 16,
            "label_samples": 16,  # answers whose majority becomes the label
            "agreement": (0.2, 0.8),  # share of the majority that a question is kept with
            "max_similarity": 0.95,  # to a question that was kept before or a seed, as share of words in common
        }
    )
    c.analysis = ml_collections.ConfigDict(
        {
            "embeddings": "model",  # or "sentence-transformers:NAME", with the extra `embeddings`
            # Says whether questions are well posed and answers right: "world" (exact), "self_consistency",
            # "endpoint" (with the extra `judge`; OPENAI_BASE_URL and OPENAI_API_KEY in the environment) or "none".
            "judge": "world",
            "judge_questions": 256,  # at most so many are judged, but for "world", which judges all
            "judge_samples": 16,  # of self_consistency
            "judge_agreement": 0.5,  # share of the majority that makes a question well posed
            "judge_model": "",  # of the endpoint
        }
    )
    c.evaluation = ml_collections.ConfigDict(
        {
            "num_samples": 32,
            "pass_at": (1, 4, 8, 16, 32),  # (paper)
            "temperature": 1.0,
            "top_p": 1.0,
            "validation_samples": 16,
            "problems_per_call": 64,
        }
    )
    c.mesh = ml_collections.ConfigDict(
        {
            # Sizes of the axes; -1 takes what is left.
            "population": -1,  # shares of the students
            "data": 1,  # shares of a batch's rows, each with a copy of the parameters
            "fsdp": 1,  # shares of rows and of parameters
            "tensor": 1,  # shares of heads, hidden dimension and vocabulary
            "cpu_devices": 2,  # on a CPU: how many devices it is split into: at most its cores, and 1, 2 or 4 here
        }
    )
    c.sampling = ml_collections.ConfigDict(
        {
            "max_slots": 64,  # rows that a device decodes at once; those that finish make room for others
            "population_batch": 1,  # students that a device runs at once: 1 on a CPU, more on accelerators
        }
    )
    c.checkpoints = ml_collections.ConfigDict(
        {
            "keep": 2,  # the newest so many
            "keep_every": 0,  # and every so many-th outer step for good; 0: none
        }
    )
    return c


def _language_model(source: str) -> ml_collections.ConfigDict:
    """An instruction model on MATH, with the paper's values where it states them, marked (paper).

    The others are choices, not yet tuned on these models: the paper does not state them.
    """
    c = nano()
    c.num_outer_steps = 200  # (paper)
    c.model.source = source
    c.model.dtype = "auto"
    c.problems.update(source="math", path="hf:EleutherAI/hendrycks_math", levels=(), seed=0)
    c.transfer.update(source="olympiadbench", path="hf:Hothan/OlympiadBench:OE_TO_maths_en_COMP", levels=(), seed=0)
    c.transfer.num_problems = 674  # all of it; those with several answers are left out, and the run says how many
    c.prompts.update(
        student="{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
        teacher=_TEACHER_PROMPT.format(examples=_EXAMPLES[0]),
        teacher_opening="<question>\n",
        from_seed="Continue this into one complete mathematics problem, and write nothing but the problem: {opening}",
        opening_words=8,
        chat=True,
        subjects=_MATH_SUBJECTS,
        teacher_format="tags",
        bucket_tokens=(128, 256, 512),
    )
    c.grading.update(extraction=("boxed",), equivalence="math", num_workers=4)
    c.hard_subset.update(num_candidates=6_000, samples_per_round=16)
    c.outer.update(num_datasets=4, students_per_dataset=4, questions_per_dataset=64)  # n: (paper)
    c.outer.update(reward_temperature=0.0, reward_samples=1)  # (paper) greedy
    c.outer.stop_at_validation = 1.1  # never
    c.promotion.student = "step_best"  # (paper)
    c.inner.group_size = 32  # the paper's for Hard-Only; it does not state SOAR's
    # Four whole models in training are 155 GB, which 16 chips of 32 GB or 32 of 16 GB hold beside the teacher's.
    c.inner.students_at_once = 4
    c.mesh.update(population=4, data=1, fsdp=-1, tensor=2)
    c.student.update(learning_rate=1e-6, adam_eps=1e-8, max_completion_tokens=1024)
    c.teacher.update(learning_rate=1e-6, adam_eps=1e-8, max_completion_tokens=768)
    for policy in (c.student, c.teacher):
        policy.update(rows_per_micro_batch=4, logprob_chunk_tokens=1024, remat="layers")
    c.student.bucket_tokens = (512,)
    c.curriculum.update(num_questions=128, levels=(1, 2, 3, 4, 5), schedule="mixed")  # (paper) 128, mixed
    c.final.num_steps = 100
    c.analysis.judge = "self_consistency"
    c.evaluation.problems_per_call = 32
    c.sampling.update(max_slots=16, population_batch=1)
    return c


def qwen3_1_7b() -> ml_collections.ConfigDict:
    """Qwen3-1.7B on MATH, told not to think first: thoughts would fill the whole completion."""
    c = _language_model("Qwen/Qwen3-1.7B")
    c.prompts.system = "/no_think"
    return c


def smollm2_135m() -> ml_collections.ConfigDict:
    """SmolLM2-135M-Instruct on GSM8K: small enough for a CPU, too weak to learn much; it proves the machinery."""
    c = _language_model("HuggingFaceTB/SmolLM2-135M-Instruct")
    c.mesh.update(population=-1, fsdp=1, tensor=1)
    c.inner.students_at_once = 0
    c.sampling.max_slots = 32
    c.problems.update(source="gsm8k", path="hf:openai/gsm8k:main:train")
    c.transfer.update(source="gsm8k", path="hf:openai/gsm8k:main:test", num_problems=256)
    c.grading.extraction = ("boxed", "last_number")
    # One example and temperature 1 give 1 parsable question in 8; three and 0.7 give 9 in 16.
    c.prompts.teacher = _TEACHER_PROMPT.format(examples="\n\n".join(_EXAMPLES))
    c.prompts.subjects = ("everyday arithmetic",)
    c.teacher.temperature = 0.7
    c.student.max_completion_tokens = c.teacher.max_completion_tokens = 256
    c.curriculum.levels = (1,)  # all that the benchmark has
    c.student.bucket_tokens = (128,)
    return c


_MATH_SUBJECTS = (
    "algebra",
    "counting and probability",
    "geometry",
    "intermediate algebra",
    "number theory",
    "prealgebra",
    "precalculus",
)
_TEACHER_PROMPT = """Write one new, self-contained mathematics problem about {{subject}}, with one final answer that \
can be checked automatically. Give the problem in <question> tags and only its final answer in <answer> tags, like this:

{examples}"""
_EXAMPLES = (
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


def _policy(
    learning_rate: float, adam_b2: float, adam_eps: float, max_completion_tokens: int
) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "temperature": 1.0,
            "max_completion_tokens": max_completion_tokens,
            "learning_rate": learning_rate,
            "adam_b1": 0.9,
            "adam_b2": adam_b2,
            # Large against the gradients' size: one lucky hit must not become a full step.
            "adam_eps": adam_eps,
            "max_grad_norm": 1.0,
            "updates_per_batch": 1,  # (paper) on-policy; more need clip_ratio
            "clip_ratio": 0.0,  # of the clipped surrogate; 0: plain RLOO (paper)
            "kl_coef": 0.0,  # KL to the policy that training starts from; 0 leaves it out
            "rows_per_micro_batch": 16,
            # Completions are padded to the smallest of these that holds them, or to their limit, and trained on
            # beside others of their size. Each is one more loop to compile.
            "bucket_tokens": (),
            "logprob_chunk_tokens": 4096,  # tokens whose full-vocabulary logits are held at once
            # What layers keep for the backward pass: "none" of it is computed again; "layers" keep their input alone;
            # "dots" also what their matrices gave.
            "remat": "none",
        }
    )


_SCALES: dict[str, Callable[[], ml_collections.ConfigDict]] = {
    "nano": nano,
    "smollm2-135m": smollm2_135m,
    "llama3.2-1b": functools.partial(_language_model, "meta-llama/Llama-3.2-1B-Instruct"),
    "llama3.2-3b": functools.partial(_language_model, "meta-llama/Llama-3.2-3B-Instruct"),  # (paper)
    "llama3.1-8b": functools.partial(_language_model, "meta-llama/Llama-3.1-8B-Instruct"),  # (paper) ablation
    "qwen2.5-1.5b": functools.partial(_language_model, "Qwen/Qwen2.5-1.5B-Instruct"),
    "qwen3-1.7b": qwen3_1_7b,
}
