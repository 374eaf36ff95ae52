"""The config section of the analysis of questions. As in `sections.py`, `paper` gives the paper's value."""

from __future__ import annotations

import dataclasses

from soar_jax.config.fields import Section, at_least, fraction, known_embedder, one_of, setting

_ONE = at_least(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisSection(Section):
    """Diversity and quality of the questions, and answers to read."""

    saved_completions: int = setting(
        8,
        "students' answers of each outer step in `completions.jsonl`; 0: none",
        at_least(0, "none"),
        execution_only=True,
        legacy=0,
    )
    embeddings: str = setting(
        "model",
        "'model', or 'sentence-transformers:NAME' with the extra `embeddings`",
        known_embedder,
        paper="Qwen3-Embedding-8B (section 5)",
    )
    vendi_size: int = setting(
        128,
        "questions that every set is brought to for its Vendi score; 0: as it is",
        at_least(0),
        paper="128 (Table 1)",
        legacy=0,
    )
    vendi_draws: int = setting(100, "bootstrap draws of a Vendi score", _ONE, paper="100 (Table 1)", legacy=100)
    judge: str = setting(
        "self_consistency",
        "who decides whether questions are well posed and answers right: 'world' (exact), 'self_consistency', "
        "'endpoint' (extra `judge`; OPENAI_BASE_URL and OPENAI_API_KEY in the environment) or 'none'",
        one_of("world", "self_consistency", "endpoint", "none"),
        paper="Claude 4.5 Sonnet (Table 7)",
    )
    judge_questions: int = setting(
        384, "questions that are judged at most; 'world' judges all", _ONE, paper="375 to 384 (Table 7)"
    )
    judge_samples: int = setting(16, "answers of self_consistency to a question", _ONE)
    judge_agreement: float = setting(0.5, "share of the majority that makes a question well posed", fraction)
    judge_model: str = setting("", "model of the endpoint")
