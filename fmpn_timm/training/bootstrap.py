"""Bootstrap intervals of figures of samples that come in clusters: faces of subjects."""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["LEVEL", "clustered_bootstrap"]

#: Coverage of all intervals.
LEVEL = 0.95


def clustered_bootstrap(
        sums: np.ndarray,
        clusters: Sequence[str],
        figures: Callable[[np.ndarray], Sequence[float]],
        resamples: int = 5000,
) -> list[tuple[float, float]] | None:
    """Percentile bootstrap intervals, 95 %, where whole clusters (subjects) are drawn, seed 0.

    They say how much figures hang on who was tested, given the trained models; how much they would vary with other
    training subjects they do not see.

    Args:
        sums: What the figures are made of, (N, M): summed over the samples that are drawn.
        clusters: Who each of the N samples is of.
        figures: From such a sum (M,) to the figures.
        resamples: How often is drawn.

    Returns:
        The ends for each figure; None for fewer than two clusters.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        return None
    of_clusters = np.zeros((len(names), sums.shape[1]))
    np.add.at(of_clusters, member, sums)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn.append(figures(times @ of_clusters))
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [tuple(pair) for pair in ends.T.tolist()]
