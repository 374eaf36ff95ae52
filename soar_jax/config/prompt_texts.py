"""Prompt templates by name, for teachers and students."""

from __future__ import annotations

# The paper's content (B.1) in words of our own.
_TOPICS = """Your task is to invent one new problem that a math assistant will have to solve. It may come from these \
topics: algebra, counting and probability, geometry, intermediate algebra, number theory, prealgebra, precalculus.

Keep to this format without any change:
<question>the complete problem</question>
<answer>\\boxed{its final answer}</answer>
Explanations, steps and thoughts must stay outside of the question and answer tags.

The problem has to be original and challenging, and has to take two or three steps of reasoning or more. Write one \
problem and no more, in the format above.

Start now:
"""
_FRAME = """What follows is a conversation of a user with an assistant. The user poses a question, and the assistant \
answers it: it reasons step by step, writes out all of its reasoning, and closes with the final answer in \\boxed{}. \
The format is always "User: [question] Assistant: [reasoning] The final answer is: \\boxed{[answer]}".

User: {question} Assistant:"""

_WITH_EXAMPLES = """Write one new, self-contained mathematics problem about {subject}, with one final answer that \
can be checked automatically. Give the problem in <question> tags and only its final answer in <answer> tags, like this:

"""
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

TEACHER = {
    "topics": _TOPICS,
    "one_example": _WITH_EXAMPLES + _EXAMPLES[0],
    "three_examples": _WITH_EXAMPLES + "\n\n".join(_EXAMPLES),
    "teacher": "teacher",  # of the embedded model, which knows this word and no instructions
}
STUDENT = {
    "frame": _FRAME,
    "step_by_step": "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{}.",
}
# What {subject} cycles through in teacher prompts that have one.
SUBJECTS = (
    "algebra",
    "counting and probability",
    "geometry",
    "intermediate algebra",
    "number theory",
    "prealgebra",
    "precalculus",
)
