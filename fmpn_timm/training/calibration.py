"""Calibration: one number by which a model's logits are divided, so that its probabilities can be believed.

Guo, Pleiss, Sun, Weinberger, `On Calibration of Modern Neural Networks`, ICML 2017 -
https://arxiv.org/abs/1706.04599
"""

from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_json
from fmpn_timm.hub import read_config

from .evaluation import answer
from .figures import draw_reliability
from .metrics import calibration_figures, reliability

__all__ = ["calibrate", "coverage", "fit_temperature", "keep_temperature"]

LOWEST, HIGHEST = 0.02, 50.0  # temperatures beyond these say that the faces fit no temperature
#: Below such a probability one may say "uncertain".
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
#: What config.json tells of where a temperature is from.
PROVENANCE = ("dataset", "split", "rule", "n", "flip", "ece_before", "ece_after", "nll_before", "nll_after")


def calibrate(
        model: nn.Module,
        faces: FaceSet,
        flip: bool = False,
        picture: str | Path | None = None,
        **options: Any,
) -> dict[str, Any]:
    """Fit a model's temperature on faces it was not trained on.

    The class of a face is its one hard label, also where raters' votes are known. The figures after calibration are of
    the same faces, which one number can hardly flatter.

    Args:
        model: A timm model whose config has ``label_names``.
        faces: Its validation faces.
        flip: Average the logits of each face and its mirror image; predict in the same way then.
        picture: Picture file to draw the reliability before and after to.
        options: Further arguments of ``answer``.

    Returns:
        A JSON-serialisable dict: ``temperature``; ``ece_before``, ``ece_after``, ``nll_before`` and ``nll_after``, of
        temperature 1 and of this one; ``accuracy``, ``n``, ``coverage``; and what it is of, ``dataset``, ``split``,
        ``rule``, ``options``, ``flip``, ``left_out``, ``broken``.

    Raises:
        InputError: As ``answer`` and ``fit_temperature``.
    """
    answers = answer(model, faces, flip, **options)
    logits, labels = answers.logits, answers.labels
    temperature = round(fit_temperature(logits, labels), 4)
    before, after = (calibration_figures(logits, labels, t) for t in (1.0, temperature))
    rule = faces.options.get("rule")
    if picture is not None and PartialState().is_main_process:
        bins = {name: reliability(logits, labels, t) for name, t in
                (("before", 1.0), (f"after, temperature {temperature:.2f}", temperature))}
        what = f"{faces.dataset} {faces.split}{f', {rule} rule' if rule else ''}, n = {len(labels)}"
        draw_reliability(bins, what, picture)
    return {
        "temperature": temperature,
        **{f"{name}_{when}": figures[name]
           for name in ("ece", "nll") for when, figures in (("before", before), ("after", after))},
        "accuracy": round(float((logits.argmax(1) == labels).double().mean()), 4),
        "n": len(labels),
        "coverage": coverage(logits, labels, temperature),
        "dataset": faces.dataset,
        "split": faces.split,
        "rule": rule,
        "options": faces.options,
        "flip": flip,
        "left_out": answers.left_out,
        "broken": answers.broken,
    }


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature at which the labels are the likeliest.

    Args:
        logits: (N, K).
        labels: (N,) in [0, K).

    Raises:
        InputError: No temperature is the best: the labels are the likelier the lower it is (all predictions are right),
            or the higher (they are no better than chance).
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None])[:, 0]

    def slope(inverse: float) -> float:
        """Of the mean negative log-likelihood, convex in 1 / temperature, by 1 / temperature."""
        return float(((inverse * logits).softmax(1) * logits).sum(1).sub(true).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    if not slope(low) < 0 < slope(high):
        raise InputError(
            f"These {len(labels)} faces fit no temperature: either the model is right about all of them, or it is no "
            "better than chance. Take more faces, of the kind it was made for and not those it was trained on."
        )
    while high - low > 1e-9 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / low


def coverage(
        logits: torch.Tensor,
        labels: torch.Tensor,
        temperature: float = 1.0,
        thresholds: tuple[float, ...] = THRESHOLDS,
) -> list[dict[str, float | None]]:
    """What is gained by saying "uncertain" of faces whose likeliest class is less probable than a threshold.

    Args:
        logits: (N, K).
        labels: (N,) in [0, K).
        temperature: What the logits are divided by.
        thresholds: Probabilities.

    Returns:
        For each threshold ``probability``, ``coverage``, the share of faces that get an answer, and ``accuracy`` among
        these, None if there are none; all in [0, 1].
    """
    confidence, predicted = (logits.double() / temperature).softmax(1).max(1)
    rows = []
    for threshold in thresholds:
        sure = confidence >= threshold
        accuracy = round(float((predicted == labels)[sure].double().mean()), 4) if sure.any() else None
        rows.append({"probability": threshold, "coverage": round(float(sure.double().mean()), 4), "accuracy": accuracy})
    return rows


def keep_temperature(folder: str | Path, result: dict[str, Any]) -> None:
    """Write what ``calibrate`` found into the config.json of a model folder, whose predictions then use it.

    Args:
        folder: The model folder.
        result: What ``calibrate`` returned.

    Raises:
        InputError: The folder's config.json is damaged or cannot be written.
    """
    path = Path(folder) / "config.json"
    config = read_config(path)
    fitted = {"temperature": result["temperature"], "calibration": {key: result[key] for key in PROVENANCE}}
    try:
        write_json(path, {**config, **fitted})
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): calibrate a copy of the folder.") from error
