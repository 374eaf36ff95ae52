"""What a run makes of its transfer problems, and what it counts of its hard test problems."""

import json
from types import SimpleNamespace

import ml_collections
import pytest
from etils import epath

from configs.soar_math import get_config
from soar_jax.evaluation.hard_subset import SealedProblems
from soar_jax.problems.sources import load_problems
from soar_jax.problems.prompts import PromptSettings
from soar_jax.settings import SettingsError
from soar_jax.runs import run
from soar_jax.types import Problem


def problem(question):
    return Problem(id=f"id of {question}", question=question, answer="1", subject="", level=1)


def benchmark(path, *questions):
    path.write_text("".join(json.dumps({"question": text, "answer": "#### 1"}) + "\n" for text in questions))
    return {"source": "gsm8k", "path": str(path), "levels": ()}


@pytest.fixture
def setup(tmp_path):
    config = get_config()
    config.transfer.update(benchmark(tmp_path / "transfer.jsonl", "What is A?", "b", "c", "too long", "d"))
    sampler = SimpleNamespace(prompts=PromptSettings(student="", teacher="", bucket_tokens=(8,)), fits=lambda question: "too long" not in question)
    return SimpleNamespace(config=config, sampler=sampler)


def transfer(setup, *candidates):
    others = load_problems(setup.config.transfer, "transfer", setup.config.transfer.num_problems)
    kept, num_shared = run._transfer(setup, others, [problem(question) for question in candidates])
    return sorted(item.question for item in kept), num_shared


def test_transfer_problems_that_are_trained_on_are_left_out(setup):
    assert transfer(setup, "what\nis  a?", "x") == (["b", "c", "d"], 1)  # case and layout apart


def test_transfer_leaves_out_all_of_the_benchmark_that_is_trained_on(setup, tmp_path):
    """Curated problems are drawn from all of it, not from the candidates alone."""
    setup.config.problems.update(benchmark(tmp_path / "problems.jsonl", "what is a?", "C", "e"))
    assert transfer(setup, "e") == (["b", "d"], 2)


def test_a_transfer_without_problems_of_its_own_is_refused(setup):
    with pytest.raises(SettingsError, match="all transfer problems are among the problems, which are trained on"):
        transfer(setup, "what is a?", "b", "c", "d")


@pytest.mark.parametrize(("source", "count"), [("promotions", 2), ("teacher", 3)])
def test_test_problems_that_somebody_wrote_are_counted_once(tmp_path, source, count):
    """The questions of promotions stand in the ledger already."""
    written = {
        "ledger.jsonl": ["A", "x", None, " a\n", "ab"],
        "curriculum.jsonl": ["b", "x"],
    }
    for name, questions in written.items():
        (tmp_path / name).write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))
    config = ml_collections.ConfigDict({"curriculum": {"source": source}})
    split = SimpleNamespace(test=SealedProblems([problem("a"), problem("b")]))
    search = SimpleNamespace(setup=SimpleNamespace(config=config), workdir=epath.Path(tmp_path), split=split)
    assert run._count_test_questions(search) == count


def test_a_run_without_questions_has_written_no_test_problem(tmp_path):
    config = ml_collections.ConfigDict({"curriculum": {"source": "none"}})
    split = SimpleNamespace(test=SealedProblems([problem("a")]))
    search = SimpleNamespace(setup=SimpleNamespace(config=config), workdir=epath.Path(tmp_path), split=split)
    assert run._count_test_questions(search) == 0
