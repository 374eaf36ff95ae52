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
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    unit = embeddings / np.where(norms == 0, 1, norms)
    kernel = unit @ unit.T
    np.fill_diagonal(kernel, 1.0)
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
