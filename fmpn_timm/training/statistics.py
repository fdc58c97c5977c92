"""Intervals and tests for cross-validated figures.

Folds share training data and seeds share folds, so no interval or test here is exact. What each takes for granted
stands in its docstring, and the tables repeat it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fmpn_timm.errors import InputError

from .bootstrap import LEVEL, clustered_bootstrap

try:
    from scipy import stats
except ImportError:
    raise InputError('Intervals and tests need scipy: pip install "fmpn-timm[train]".') from None

__all__ = ["Difference", "corrected_t_test", "mcnemar", "mean_interval", "t_interval", "wilcoxon"]


class Difference(NamedTuple):
    """A mean difference, the ends of its interval, and the two-sided p-value of no difference."""

    mean: float
    low: float
    high: float
    p: float


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's t interval of the mean, 95 %.

    Takes the values for independent draws. The accuracies of folds are not, as their training sets overlap: the
    interval is somewhat too narrow, and no unbiased one exists (Bengio and Grandvalet, JMLR 5, 2004).

    Args:
        values: One value a fold.

    Returns:
        Its ends, or None for fewer than two values.
    """
    if len(values) < 2:
        return None
    half = _quantile(len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def corrected_t_test(differences: Sequence[float], test_share: float) -> Difference | None:
    """Paired t test over folds with the corrected variance of Nadeau and Bengio (Machine Learning 52, 2003).

    The variance of the mean is ``(1/n + test/train) s^2`` in place of ``s^2 / n``, to make up for training sets that
    overlap. It was derived for repeated random splits; for the folds of one cross-validation it is the usual
    approximation.

    Args:
        differences: One difference a fold.
        test_share: Samples tested over samples learnt from.

    Returns:
        None for fewer than two differences, or if they do not vary: then there is no t.
    """
    n = len(differences)
    if n < 2 or np.ptp(differences) < 1e-9:
        return None
    mean = float(np.mean(differences))
    error = float(np.sqrt((1 / n + test_share) * np.var(differences, ddof=1)))
    half = _quantile(n - 1) * error
    return Difference(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, n - 1)))


def wilcoxon(differences: Sequence[float]) -> float | None:
    """p-value, two-sided, of Wilcoxon's signed-rank test; folds without a difference are left out.

    Exact without ties, and with ties up to 13 differences (SciPy before 1.15 took no account of them); else by the
    normal distribution.

    Returns:
        None for fewer than two differences; 1 where all are zero.
    """
    if len(differences) < 2:
        return None
    # Differences of accuracies that are the same count of samples must tie, whatever the last bit says.
    kept = [round(d, 9) for d in differences if round(d, 9) != 0]
    return float(stats.wilcoxon(kept).pvalue) if kept else 1.0


def mcnemar(only_first: int, only_second: int) -> float:
    """p-value, two-sided, of the exact McNemar test.

    Takes the samples for independent. Frames of one subject are not, so it calls differences found too readily.

    Args:
        only_first: Samples that the first system alone gets right.
        only_second: Samples that the second system alone gets right.
    """
    n = only_first + only_second
    return float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0


def mean_interval(values: Sequence[float], subjects: Sequence[str]) -> tuple[float, float] | None:
    """Interval of a mean over samples, by ``clustered_bootstrap``.

    Args:
        values: One value a sample, such as 1 for right and 0 for wrong.
        subjects: Who each sample is of.

    Returns:
        Its ends, or None for fewer than two subjects.
    """
    values = np.asarray(values, float)
    ends = clustered_bootstrap(np.stack([values, np.ones_like(values)], 1), subjects, lambda s: (s[0] / s[1],))
    return ends and ends[0]


def _quantile(degrees: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, degrees))
