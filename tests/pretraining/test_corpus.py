import dataclasses

import numpy as np
import pytest

from soar_jax.grading.extraction import extract
from soar_jax.pretraining import corpus
from soar_jax.pretraining.pretrain import make_phase
from soar_jax.problems import arithmetic
from soar_jax.problems.prompts import parse_question_answer
from tests.configs import plain_prompts, pretrain_config

PROMPTS = plain_prompts(student=corpus.STUDENT_PROMPT, teacher=corpus.TEACHER_PROMPT, bucket_tokens=(16,))


@pytest.fixture(scope="module")
def mix():
    return make_phase(pretrain_config(), "prior").mix


def only(mix, **shares):
    """The mix restricted to the given formats."""
    return dataclasses.replace(mix, **({"textbook": 0.0, "exam_worked": 0.0, "exam": 0.0} | shares))


def draw(mix, count=400):
    rng = np.random.default_rng(0)
    return [corpus.random_document(rng, mix) for _ in range(count)]


def test_worked_documents_are_right(mix):
    for document in draw(only(mix, textbook=0.5, exam_worked=0.5)):
        question = document.prompt.partition(" ")[2].partition(" ?")[0]
        assert extract(document.continuation, ("after_equals",)) == arithmetic.facts(question).true_answer
        # in an exam, the work mark is part of the prompt
        assert document.prompt.endswith("? >") == document.prompt.startswith("exam")
        assert document.continuation.startswith(">") == document.prompt.startswith("textbook")


def test_wrong_direct_answers_to_exams_repeat_the_digits(mix):
    wrong = 0
    for document in draw(only(mix, exam=1.0)):
        question = document.prompt.removeprefix("exam ").removesuffix(" ?")
        facts = arithmetic.facts(question)
        if facts.subject == "dial" and facts.level >= 6 and document.continuation.startswith("="):
            assert extract(document.continuation, ("after_equals",)) == " ".join(question.split()[1:4])
            wrong += 1
    assert wrong > 50


def test_teacher_documents_parse_into_question_and_answer(mix):
    subjects = []
    for document in draw(only(mix)):
        assert document.prompt == corpus.TEACHER_PROMPT
        pair = parse_question_answer(PROMPTS, document.continuation, ("after_equals",))
        subjects.append(arithmetic.facts(pair.question).subject)
    assert set(subjects) == set(arithmetic.TOPICS) - {"mirror"}  # the transfer test's topic
    assert 0.08 < subjects.count("dial") / len(subjects) < 0.22


def test_all_words_are_in_the_vocabulary(mix):
    words = set(arithmetic.vocabulary())
    for document in draw(dataclasses.replace(mix, textbook=0.2, exam_worked=0.2, exam=0.3)):
        assert set(f"{document.prompt} {document.continuation}".split()) <= words
