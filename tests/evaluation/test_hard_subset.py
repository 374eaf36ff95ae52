import dataclasses

import numpy as np
import pytest

from soar_jax.errors import SettingsError
from soar_jax.evaluation import hard_subset
from soar_jax.problems.arithmetic import generate_problems


@pytest.fixture(scope="module")
def problems():
    return generate_problems(np.random.default_rng(0), (6, 7, 8), 40)


def test_split_is_halved_disjoint_and_depends_on_the_seed(problems):
    split = hard_subset.split_hard(problems, seed=0, validation_share=0.25)
    assert (len(split.train), len(split.validation), len(split.test)) == (15, 5, 20)
    again, other = (hard_subset.split_hard(problems, seed=seed, validation_share=0.25) for seed in (0, 1))
    assert (split.train, split.validation, split.test.fingerprints) == (
        again.train,
        again.validation,
        again.test.fingerprints,
    )
    assert split.train != other.train
    split.test.unseal()
    ids = [{problem.id for problem in each} for each in (split.train, split.validation, split.test.problems)]
    assert set.union(*ids) == {problem.id for problem in problems}


def test_sealed_problems_cannot_be_read(problems):
    sealed = hard_subset.SealedProblems(problems[:5])
    with pytest.raises(hard_subset.SealedError):
        _ = sealed.problems
    assert sealed.contains("  " + problems[0].question.upper())
    assert not sealed.contains(problems[6].question)
    assert len(sealed) == 5
    sealed.unseal()
    assert sealed.problems == tuple(problems[:5])


def test_without_a_validation_share_the_first_half_is_trained_on(problems):
    split = hard_subset.split_hard(problems, seed=0, validation_share=0.0)
    assert (len(split.train), split.validation, len(split.test)) == (20, (), 20)
    shared = hard_subset.split_hard(problems, seed=0, validation_share=0.25)
    assert shared.test.fingerprints == split.test.fingerprints  # the test problems do not depend on the share


@pytest.mark.parametrize(("share", "text"), [(0.25, "15 train, 5 validation, 20 test"), (0.0, "20 train, 20 test")])
def test_sizes_name_the_sets_that_there_are(problems, share, text):
    assert hard_subset.sizes_text(hard_subset.split_hard(problems, seed=0, validation_share=share)) == text


@pytest.mark.parametrize(
    ("count", "share", "sets"),
    [
        (0, 0.25, "train, validation and test"),
        (1, 0.25, "train, validation and test"),
        (3, 0.25, "train, validation and test"),
        (2, 0.75, "train, validation and test"),
        (0, 0.0, "train and test"),
        (1, 0.0, "train and test"),
    ],
)
def test_too_few_problems_are_refused(problems, count, share, sets):
    with pytest.raises(SettingsError, match=rf"the hard subset has {count} problem\(s\), too few for {sets}; raise"):
        hard_subset.split_hard(problems[:count], seed=0, validation_share=share)


def test_shared_question_is_refused_even_with_another_id(problems):
    twin = dataclasses.replace(problems[0], id="other", question=problems[0].question.upper())
    split = hard_subset.HardSplit(
        train=(problems[0],), validation=(problems[1],), test=hard_subset.SealedProblems([twin])
    )
    with pytest.raises(SettingsError, match="is both in hard test and in hard train"):
        hard_subset.check_disjoint(split)


def test_counts_are_read_only_with_their_key(problems, tmp_path):
    path, counts = tmp_path / "hard.jsonl", np.arange(40)
    key = hard_subset.cache_key("weights", problems, 128)
    assert hard_subset.read_counts(path, key) is None
    path.write_text(hard_subset.counts_text(key, problems, counts=counts, samples=np.full(len(problems), 128)))
    np.testing.assert_array_equal(hard_subset.read_counts(path, key), counts)
    assert hard_subset.read_counts(path, hard_subset.cache_key("weights", problems, 64)) is None
    assert [file.name for file in tmp_path.iterdir()] == ["hard.jsonl"]
