"""Diversity measures of a set of questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_BLEU_CHARACTERS = 1000  # longer questions are truncated: BLEU's cost stays bounded
SAME_CLUSTER = 0.5  # largest distance 1 - BLEU within a cluster


def vendi_score(embeddings: np.ndarray) -> float:
    """Vendi score: the effective number of different items (arXiv 2210.02410).

    exp of the Shannon entropy of the eigenvalues of K / N, with K the cosine similarities: 1 for N equal vectors, N
    for N orthogonal ones, 0 for N = 0.

    Args:
      embeddings: [N, E]. A zero vector counts as different from all others.
    """
    if len(embeddings) == 0:
        return 0.0
    return _vendi_of_kernel(_cosine_similarities(embeddings))


def bootstrapped_vendi_score(
    embeddings: np.ndarray, size: int, num_draws: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Mean and SD of the Vendi scores of bootstrap draws, which bring sets of any size to one (paper, Table 1).

    A draw takes `size` rows with replacement. So it works for sets that are smaller than `size`, and a set of exactly
    `size` rows has a spread. Copies of a row add nothing to a Vendi score, so the mean is below the score of `size`
    different rows.

    Args:
      embeddings: [N, E].
    """
    if len(embeddings) == 0:
        return 0.0, 0.0
    rows = generator.integers(len(embeddings), size=(num_draws, size))
    scores = []
    for draw in rows:
        distinct, copies = np.unique(draw, return_inverse=True)  # copies of a zero vector are equal, too
        kernel = _cosine_similarities(embeddings[distinct])
        scores.append(_vendi_of_kernel(kernel[np.ix_(copies, copies)]))
    return float(np.mean(scores)), float(np.std(scores))


def mean_cosine_distance(embeddings: np.ndarray) -> float:
    """Mean of 1 - cosine similarity over all pairs of different rows; 0 for fewer than two rows.

    Args:
      embeddings: [N, E]. A zero vector is at distance 1 from all others.
    """
    size = len(embeddings)
    if size < 2:
        return 0.0
    unit = _unit_rows(embeddings)
    # The sum over all pairs without their [N, N] matrix: the square of the sum, less that of each row with itself.
    similarity = (np.square(unit.sum(axis=0)).sum() - np.square(unit).sum()) / (size * (size - 1))
    return float(1 - similarity)


def _unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Rows of norm 1, float64; zero vectors stay."""
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(norms == 0, 1, norms))


def _cosine_similarities(embeddings: np.ndarray) -> np.ndarray:
    """Cosine similarities of all pairs of rows, [N, N] float64, with ones on the diagonal."""
    unit = _unit_rows(embeddings)
    kernel: np.ndarray = unit @ unit.T
    np.fill_diagonal(kernel, 1.0)
    return kernel


def _vendi_of_kernel(kernel: np.ndarray) -> float:
    values = np.linalg.eigvalsh(kernel / len(kernel))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def distinct_share(texts: Sequence[str]) -> float:
    """Number of distinct texts over number of texts, whitespace normalised; 0 for no texts."""
    return len({" ".join(text.split()) for text in texts}) / len(texts) if texts else 0.0


def repetition_penalties(texts: Sequence[str]) -> np.ndarray:
    """R-Zero's repetition penalty: the fraction of the batch in a text's BLEU cluster (arXiv 2508.05004).

    Clusters by average linkage on the distance 1 - sentence BLEU, cut at `SAME_CLUSTER`.

    Returns:
      [len(texts)] float64.
    """
    from sacrebleu.metrics import BLEU
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(texts) < 2:
        return np.ones(len(texts))
    cut = [text[:MAX_BLEU_CHARACTERS] for text in texts]
    bleu = BLEU(effective_order=True, tokenize="none")
    scores = np.zeros((len(cut), len(cut)))
    for row, reference in enumerate(cut):
        for column in range(row):
            scores[row, column] = bleu.sentence_score(cut[column], [reference]).score / 100
    distances = 1 - np.clip(scores + scores.T + np.eye(len(cut)), 0, 1)
    clusters = fcluster(linkage(squareform(distances, checks=False), "average"), SAME_CLUSTER, "distance")
    return np.bincount(clusters)[clusters] / len(cut)
