"""Tests of intervals and tests, against figures worked out by hand or by another way."""

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from fmpn_timm.training.statistics import (
    corrected_t_test,
    mcnemar,
    mean_interval,
    t_interval,
    wilcoxon,
)


def test_t_interval_of_ten_folds():
    # the FMPN authors' folds of MMI; t(0.975, 9) = 2.262157
    folds = [0.778, 0.731, 0.667, 0.744, 0.857, 0.855, 0.958, 0.889, 1.0, 0.795]
    mean, error = np.mean(folds), np.std(folds, ddof=1) / math.sqrt(10)
    assert t_interval(folds) == pytest.approx((mean - 2.262157 * error, mean + 2.262157 * error), abs=1e-6)
    assert t_interval([0.5]) is None


def test_corrected_t_test_has_the_wider_variance():
    differences = [0.02, 0.05, -0.01, 0.03, 0.04]
    plain = corrected_t_test(differences, test_share=0.0)
    corrected = corrected_t_test(differences, test_share=1 / 9)
    assert plain.mean == corrected.mean == pytest.approx(0.026)
    assert plain[1:3] == pytest.approx(t_interval(differences))
    widened = math.sqrt((1 / 5 + 1 / 9) / (1 / 5))
    assert corrected.high - corrected.mean == pytest.approx(widened * (plain.high - plain.mean))
    t = 0.026 / (np.std(differences, ddof=1) / math.sqrt(5))
    inside = 3 / 4 * t / math.sqrt(1 + t**2 / 4) * (1 - t**2 / (12 + 3 * t**2))  # Student's with 4 degrees of freedom
    assert plain.p == pytest.approx(1 - inside) and corrected.p > plain.p
    assert corrected_t_test([0.1], 0.1) is None and corrected_t_test([0.1, 0.1, 0.1], 0.1) is None


def test_mcnemar_is_the_exact_binomial():
    assert mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(9, 1) == mcnemar(1, 9) and mcnemar(5, 5) == mcnemar(0, 0) == 1.0


def test_wilcoxon():
    assert wilcoxon([1, 2, 3, 4, 5]) == pytest.approx(2 / 2**5)
    assert wilcoxon([0, 1, 2, 3, 4, 5]) == wilcoxon([1, 2, 3, 4, 5])  # a fold without a difference says nothing
    thirds = [0.1 + 0.2 - 0.3, 0.3, -0.1 - 0.2, 0.5, 0.6, 0.7]  # two of the same size, and none, but for the last bit
    assert wilcoxon(thirds) == wilcoxon([0, 3, -3, 5, 6, 7])
    assert wilcoxon([0, 0, 0]) == 1.0 and wilcoxon([1.0]) is None


def test_wilcoxon_is_exact_with_ties_too():
    differences = np.array([3, 3, -3, 1, 1, -1, 2, 2, 4, -2, 6, 7])
    sizes = np.abs(differences)
    ranks = np.array([(sizes < s).sum() + ((sizes == s).sum() + 1) / 2 for s in sizes])  # of ties the mean
    signs = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    sums, middle = signs @ ranks, ranks.sum() / 2
    extreme = np.abs(sums - middle) >= abs(ranks[differences > 0].sum() - middle)
    assert wilcoxon(differences) == pytest.approx(extreme.mean())


def test_bootstrap_draws_subjects_not_samples():
    rng = np.random.default_rng(0)
    right = (rng.random(60) < 0.7).astype(float)
    alone = mean_interval(right, [str(i) for i in range(60)])
    error = math.sqrt(right.mean() * (1 - right.mean()) / 60)
    assert alone == pytest.approx((right.mean() - 1.96 * error, right.mean() + 1.96 * error), abs=0.02)
    many = rng.normal(size=400)  # no steps: the ends are as exact as 5,000 draws are, and the same each time
    names = [str(i) for i in range(400)]
    ends = mean_interval(many, names)
    error = many.std() / 20
    assert ends == pytest.approx((many.mean() - 1.96 * error, many.mean() + 1.96 * error), abs=0.15 * error)
    assert ends == mean_interval(many, names)
    # ten frames of each subject, all alike, are no more evidence than one
    repeated = mean_interval(np.repeat(right, 10), [str(i) for i in range(60) for _ in range(10)])
    assert repeated == alone
    assert mean_interval([1, 0], ["one", "one"]) is None
