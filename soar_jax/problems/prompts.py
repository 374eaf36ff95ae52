"""What a student is asked and what the teacher is asked."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PromptSettings:
    """Prompt templates of a scale."""

    student: str  # holds {question}
    teacher: str  # fixed: no hard problem is ever shown to the teacher
    bucket_tokens: tuple[int, ...]  # lengths that prompts are padded to


def student_prompt(settings: PromptSettings, question: str) -> str:
    """The prompt that asks a student a question (text is inserted, never interpreted)."""
    return settings.student.replace("{question}", question)
