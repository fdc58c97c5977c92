"""Cross-validation: all folds of a protocol, for several arms and seeds, and what can be said of the whole.

A cross-validation is a folder, ``<output>/<name>``: a plan, a run ``<arm>/seed<k>-fold<n>`` for each arm, seed and
fold, and the report. Whoever trains a run holds its claim, ``<arm>/seed<k>-fold<n>.claim``, so that any number of
processes and machines that see the folder share the work by giving the same command, or one with other folds.
"""

import dataclasses
import itertools
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch

from fmpn_timm.data.protocols import PROTOCOLS
from fmpn_timm.errors import InputError
from fmpn_timm.files import write_json, write_text

from .claims import alone, claim, is_claimed, state_of
from .config import TrainConfig
from .data import folds_of
from .figures import draw_confusion, draw_folds
from .loop import train
from .metrics import summarize
from .predictions import Predictions, read_predictions
from .statistics import corrected_t_test, mcnemar, mean_interval, t_interval, wilcoxon
from .systems import WITHOUT_BACKBONE
from .tables import arm_label, comparisons, published_sources, sort_arms, table_one

__all__ = ["Plan", "cross_validate", "report", "run_folder"]

NOTES = """\
Mean of folds: unweighted, over folds and then seeds, as the published figures are; pooled: over all test samples. 95
% over folds: t interval of the folds' accuracies, each the mean of its seeds; folds share training data, so it is
somewhat too narrow. 95 % over subjects: bootstrap that draws test subjects, or faces where nobody knows whose they
are; it does not see that other training subjects would give other models. Corrected t: paired over folds, variance
as of Nadeau and Bengio (2003). Wilcoxon: signed ranks over folds. McNemar: exact, pooled over the folds of one seed;
it takes samples for independent, which frames of one subject are not. No p-value is corrected for the number of
comparisons."""

#: What sets two arms apart beside the loss that one of them is named after.
NOTE_ON_ARMS = "FMPN has a stage 1, and its mask generator then learns at generator_lr; without L_M it learns at lr."


@dataclass(frozen=True)
class Plan:
    """What a cross-validation is made of.

    Attributes:
        dataset: The data set, also where it was prepared.
        protocol: Its protocol; None for a prepared set that fits none, and for a data set's own splits.
        available: Numbers of the folds that there are.
        folds: Those that are asked for.
        seeds: The seeds that are asked for.
        arms: The arms that are asked for, in the order of the tables.
        config: What all runs have in common.
    """

    dataset: str
    protocol: str | None
    available: tuple[int, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    config: dict[str, Any]

    @property
    def own_splits(self) -> bool:
        """Whether there are no folds but the splits that the data set comes with."""
        return self.protocol is None and (self.config["dataset"] != "prepared" or self.available == (0,))

    @property
    def cut(self) -> str:
        """How the data set is cut, in words."""
        if self.own_splits:
            return f"{self.config['train_split']} and {self.config['test_split']}"
        if not self.protocol:
            return "prepared"
        other = "" if self.as_published else f" with other samples, {json.dumps(self.config['data_options'])}"
        return f"protocol {self.protocol}{other}"

    @property
    def as_published(self) -> bool:
        """Whether published figures are of these samples: the reader is told nothing else than the protocol says."""
        if not self.protocol:
            return True
        given, said = self.config["data_options"], PROTOCOLS[self.dataset][self.protocol].options
        return all(given.get(name, value) == value for name, value in said.items())

    @property
    def selected_on(self) -> str:
        """What the epoch is selected on, in words."""
        if self.own_splits and self.config["valid_split"]:
            return f"split {self.config['valid_split']}"
        if self.protocol and PROTOCOLS[self.dataset][self.protocol].rule == "official":
            return "the validation faces of each fold"
        return f"{self.config['valid_fraction']:g} of the training subjects"

    def runs(self) -> list[tuple[str, int, int]]:
        """Arm, seed and fold of each run, in the order in which they are trained: arms can be compared early.

        The backbone alone is the first of each fold, since others may start or learn from it.
        """
        arms = sorted(self.arms, key=lambda arm: arm != "cnn")
        return [(arm, seed, fold) for seed in self.seeds for fold in self.folds for arm in arms]


def cross_validate(
        config: TrainConfig,
        arms: Sequence[str],
        seeds: Sequence[int],
        folds: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Train every arm with every seed on every fold, except what is done or claimed by others; then ``report``.

    In each run the prior masks are built from the training subjects of the fold, ``valid_fraction`` of them select the
    epoch, and the test subjects are looked at once. A run that was stopped goes on from its last checkpoint.

    Args:
        config: What all runs have in common; its name is the name of the cross-validation. In ``init``, ``teacher`` and
            ``priors``, ``{arm}``, ``{seed}`` and ``{fold}`` stand for the run's own and ``{runs}`` for the folder of
            the cross-validation, so that no run starts or learns from what has seen its test subjects.
        arms: Names of arms, as ``TrainConfig.arm`` takes them.
        seeds: Seeds of weights, data order, augmentation and of the choice of validation subjects.
        folds: Numbers of folds; None for all.

    Returns:
        What ``report`` returns.

    Raises:
        InputError: An arm or fold is unknown, the data set has no folds, the folder holds a cross-validation of another
            configuration, or what ``train`` says, with the name of the run before it.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("A fold is trained in one process. To share the work, start the same command several times, "
                         "here or on other machines, without a launcher.")
    known = get_args(get_type_hints(TrainConfig)["arm"])
    unknown = [arm for arm in arms if arm not in known]
    if unknown or not arms:
        raise InputError(f"--arms: unknown arm {', '.join(unknown) or '(none)'}; choose from {', '.join(known)}.")
    if config.fold is not None:
        raise InputError(f"--fold {config.fold}: cross-validation takes --folds.")
    found = folds_of(config)
    outside = [n for n in folds or () if n not in found.numbers]
    if outside:
        raise InputError(f"--folds {', '.join(map(str, outside))}: {found.of} has folds {found.span}.")
    common = {k: v for k, v in config.decisive().items() if k not in ("arm", "seed", "fold")}
    plan = Plan(found.dataset, found.protocol, found.numbers, tuple(folds or found.numbers), tuple(seeds),
                tuple(sort_arms(arms)), common)
    _enter(config.folder, plan)
    runs = plan.runs()
    trained, waiting = True, 1
    while trained and waiting:  # again for those that waited for others
        trained, waiting = False, 0
        for i, (arm, seed, fold) in enumerate(runs, 1):
            run = _run_config(config, arm, seed, fold)
            if _is_finished(run.folder):
                continue
            if any(is_claimed(other) and not _is_finished(other) for other in _needed(run, config.folder)):
                waiting += 1
                continue
            with claim(config.folder, run.folder) as mine:
                if mine and not _is_finished(run.folder):  # another may have finished it since we looked
                    print(f"== {arm_label(arm)}, seed {seed}, fold {fold} (run {i} of {len(runs)})", file=sys.stderr,
                          flush=True)
                    _train(run)
                    trained = True
    if waiting:
        print(f"{waiting} runs start or learn from runs that others are training: start the same command again when "
              "these are done.", file=sys.stderr)
    return report(config.folder)


def report(folder: Path) -> dict[str, Any]:
    """Sum up the runs that are finished.

    Writes to the folder ``crossval.json``, ``table.md``, ``table.tex``, ``confusion-<arm>.png`` (over folds and seeds)
    and ``folds.png``.

    Args:
        folder: Folder of the cross-validation, ``<output>/<name>``.

    Returns:
        The contents of ``crossval.json``: ``plan``, ``runs`` (figures of each), ``missing`` (what is not finished, and
        why), ``arms`` (figures of each over all its runs), ``comparisons`` (of each two arms) and ``text``, the tables.

    Raises:
        InputError: The folder holds no cross-validation, or the runs were tested on different samples.
    """
    if not _plan_path(folder).is_file():
        raise InputError(f"{folder} holds no plan.json: give --name and --output of a cross-validation that was begun.")
    with alone(folder):  # so that the last report is the one that saw most
        plan = _read_plan(folder)
        results, missing = {}, []
        for arm, seed, fold in plan.runs():
            run = run_folder(folder, arm, seed, fold)
            if _is_finished(run):
                summary = json.loads((run / "summary.json").read_text())
                results[arm, seed, fold] = Result(summary, read_predictions(run / "predictions.csv"))
            else:
                missing.append({"arm": arm, "seed": seed, "fold": fold, "state": state_of(run)})
        found = {
            "plan": dataclasses.asdict(plan),
            "runs": [{"arm": arm, "seed": seed, "fold": fold, **r.figures()} for (arm, seed, fold), r in
                     sorted(results.items(), key=lambda item: (plan.arms.index(item[0][0]), item[0][1:]))],
            "missing": missing,
            "arms": {arm: _measure(of_arm) for arm in plan.arms if (of_arm := _of_arm(results, arm))},
            "comparisons": [c for first, second in itertools.combinations(plan.arms, 2)
                            if (c := _compare(results, first, second))],
        }
        found["text"] = _text(plan, found)
        if results:
            _draw(folder, plan, found)
            write_text(folder / "table.tex", _text(plan, found, latex=True) + "\n")
        write_text(folder / "table.md", found["text"] + "\n")
        write_json(folder / "crossval.json", found)
    return found


@dataclass(frozen=True)
class Result:
    """A finished run: its summary, and what it said of each test sample."""

    summary: dict[str, Any]
    predictions: Predictions

    @property
    def hits(self) -> np.ndarray:
        """1 for each test sample that was called right, else 0."""
        return (self.predictions.predicted == self.predictions.labels).numpy().astype(float)

    def figures(self) -> dict[str, Any]:
        kept = ("samples", "best_epoch", "training_seconds", "parameters", "versions")
        return {"accuracy": _round(self.hits.mean()), "macro_f1": self.summary["metrics"]["macro_f1"],
                "n": len(self.hits), **{k: self.summary[k] for k in kept}}


Results = dict[tuple[str, int, int], Result]


def _run_config(config: TrainConfig, arm: str, seed: int, fold: int) -> TrainConfig:
    own = {"{arm}": arm, "{seed}": str(seed), "{fold}": str(fold), "{runs}": str(config.folder)}

    def fill(text: str | None) -> str | None:
        for place, value in own.items():
            text = text and text.replace(place, value)
        return text

    name = run_folder(Path(config.name), arm, seed, fold).as_posix()
    run = dataclasses.replace(config.of_arm(arm), name=name, seed=seed, fold=fold, resume="auto")
    return dataclasses.replace(run, init=fill(run.init), teacher=fill(run.teacher), priors=fill(run.priors))


def _needed(run: TrainConfig, folder: Path) -> list[Path]:
    """Folders in that of the cross-validation around what a run starts or learns from: its runs are among them."""
    models = [name for names in (run.init, run.teacher) if names for name in names.split(",")]
    paths = [Path(name.removeprefix("local-dir:")) for name in models if name.startswith("local-dir:")]
    return [above for path in (*paths, Path(run.priors)) for above in path.parents if folder in above.parents]


def _train(run: TrainConfig) -> None:
    try:
        train(run)
    except InputError as error:
        raise InputError(f"{run.name}: {error}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Finished epochs and folds are kept: give the same command to go on.") from None


def run_folder(folder: Path, arm: str, seed: int, fold: int) -> Path:
    """Where a cross-validation keeps one of its runs."""
    return folder / arm / f"seed{seed}-fold{fold}"


def _is_finished(run: Path) -> bool:
    return (run / "summary.json").is_file()


# The plan: written by the first process, extended by those that ask for more.


def _plan_path(folder: Path) -> Path:
    return folder / "plan.json"


def _read_plan(folder: Path) -> Plan:
    values = json.loads(_plan_path(folder).read_text())
    return Plan(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _enter(folder: Path, plan: Plan) -> None:
    """Write the plan, or add to the one that is there; another is replaced as long as none of its runs has begun."""
    if (folder / "config.json").is_file():
        raise InputError(f"{folder} is a run of its own. Give another --name.")
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        if _plan_path(folder).is_file():
            before = _read_plan(folder)
            asked, stored = (
                {"dataset": p.dataset, "protocol": p.protocol, "folds": p.available, **TrainConfig.decided(p.config)}
                for p in (plan, before)
            )
            changed = [f"{k}: {stored.get(k)} -> {asked.get(k)}" for k in {**stored, **asked}
                       if stored.get(k) != asked.get(k)]
            if not changed:
                plan = dataclasses.replace(
                    plan,
                    folds=tuple(sorted({*before.folds, *plan.folds})),
                    seeds=tuple(sorted({*before.seeds, *plan.seeds})),
                    arms=tuple(sort_arms({*before.arms, *plan.arms})),
                )
            elif any(state_of(run_folder(folder, *run)) != "not begun" for run in before.runs()):
                raise InputError(f"{folder} is a cross-validation of another configuration ({'; '.join(changed)}). "
                                 "Give the same options to go on, or another --name.")
        write_json(_plan_path(folder), dataclasses.asdict(plan))


# Figures.


def _of_arm(results: Results, arm: str) -> Results:
    return {key: result for key, result in results.items() if key[0] == arm}


def _measure(results: Results) -> dict[str, Any]:
    """The figures of an arm over its runs."""
    by_fold, by_seed = defaultdict(list), defaultdict(list)
    for (_, seed, fold), result in results.items():
        by_fold[fold].append(result.hits.mean())
        by_seed[seed].append(result.hits.mean())
    folds = {fold: float(np.mean(of_fold)) for fold, of_fold in sorted(by_fold.items())}
    seeds = {seed: float(np.mean(of_seed)) for seed, of_seed in sorted(by_seed.items())}
    said = [result.predictions for result in results.values()]
    classes = said[0].classes
    predicted, labels = (torch.cat([getattr(p, name) for p in said]) for name in ("predicted", "labels"))
    pooled = summarize(torch.nn.functional.one_hot(predicted, len(classes)), labels, classes)
    hits = np.concatenate([result.hits for result in results.values()])
    return {
        "runs": len(results),
        "folds": {str(fold): _round(accuracy) for fold, accuracy in folds.items()},
        "seeds": {str(seed): _round(accuracy) for seed, accuracy in seeds.items()},
        "seed_std": _round(np.std(list(seeds.values()), ddof=1)) if len(seeds) > 1 else None,
        "fold_mean": _round(np.mean(list(folds.values()))),
        "fold_interval": _round(t_interval(list(folds.values()))),
        "pooled": _round(hits.mean()),
        "subject_interval": _round(mean_interval(hits, [s for p in said for s in p.subjects])),
        "faces": len({(fold, s) for (*_, fold), result in results.items() for s in result.predictions.sources}),
        **{k: pooled[k] for k in ("macro_f1", "n", "per_class", "confusion", "classes")},
    }


def _compare(results: Results, first: str, second: str) -> dict[str, Any] | None:
    """The second arm against the first, on the seeds and folds that both have; None if there is none."""
    shared = [key for _, *key in _of_arm(results, first) if (second, *key) in results]
    if not shared:
        return None
    by_fold, by_seed, differences, subjects = defaultdict(list), defaultdict(list), [], []
    for seed, fold in shared:
        a, b = results[first, seed, fold], results[second, seed, fold]
        if a.predictions.sources != b.predictions.sources:
            raise InputError(f"{first} and {second}, seed {seed}, fold {fold}, were tested on different samples: the "
                             "data have changed in between. Train anew, under another --name.")
        difference = b.hits - a.hits
        by_fold[fold].append(difference.mean())
        by_seed[seed].append(difference)
        differences.append(difference)
        subjects += a.predictions.subjects
    differences = np.concatenate(differences)
    folds = [float(np.mean(of_fold)) for _, of_fold in sorted(by_fold.items())]
    samples = [results[(first, *key)].summary["samples"] for key in shared]
    t_test = corrected_t_test(folds, sum(s["test"] for s in samples) / sum(s["train"] for s in samples))
    tests = []
    for seed, of_seed in sorted(by_seed.items()):
        of_seed = np.concatenate(of_seed)
        only = int((of_seed < 0).sum()), int((of_seed > 0).sum())
        tests.append({"seed": seed, "only_first": only[0], "only_second": only[1], "p": mcnemar(*only)})
    return {
        "arms": [first, second],
        "shared_runs": len(shared),
        "fold_mean": _round(np.mean(folds)),
        "folds": t_test and {k: _round(v) for k, v in t_test._asdict().items()},
        "wilcoxon": _round(wilcoxon(folds)),
        "pooled": _round(differences.mean()),
        "pooled_interval": _round(mean_interval(differences, subjects)),
        "mcnemar": tests,
    }


def _round(value: Any) -> Any:
    """To six decimals, as JSON takes it."""
    if value is None:
        return None
    return [_round(v) for v in value] if isinstance(value, tuple) else round(float(value), 6)


# What people look at.


def _text(plan: Plan, found: Mapping[str, Any], latex: bool = False) -> str:
    """What the figures are of, the tables, and what to know of them."""
    arms = found["arms"]
    classes = len(next(iter(arms.values()))["classes"]) if arms else None
    published = (plan.dataset, plan.protocol) if plan.as_published else ("", None)
    tables = [table_one(arms, *published, latex, classes)] if arms else []
    tables += [comparisons(found["comparisons"], latex)] if found["comparisons"] else []
    about, notes = _about(plan, found), _notes(plan, arms, published_sources(*published, classes))
    if latex:
        about, notes = (["\n".join(f"% {line}" for line in part.splitlines()) for part in of] for of in (about, notes))
    return "\n\n".join([*about, *tables, *notes])


def _about(plan: Plan, found: Mapping[str, Any]) -> list[str]:
    """What the figures are of, and which runs are missing, in paragraphs."""
    config, arms, missing = plan.config, found["arms"], found["missing"]
    of = [plan.dataset, plan.cut]
    if not plan.own_splits:
        folds = {fold for measured in arms.values() for fold in measured["folds"]}
        of.append(f"{len(folds)} of {len(plan.available)} folds")
    if rule := config["data_options"].get("rule"):
        of.append(f"{rule} rule")
    if config["flip_test"]:
        of.append("mirror images averaged")
    of.append(f"seed{'s' * (len(plan.seeds) > 1)} {', '.join(map(str, plan.seeds))}")
    network = "" if set(plan.arms) <= set(WITHOUT_BACKBONE) else f"{config['backbone']} at "
    of.append(f"{network}{config['size']} pixels")
    masks = "built from the training subjects of each fold" if config["priors"] == "build" else config["priors"]
    priors = f"Prior masks: {masks}. " if "fmpn" in plan.arms else ""
    parts = [f"{', '.join(of)}.\n{priors}The epoch is selected on {plan.selected_on}."]
    if config.get("train_fraction", 1) < 1:
        parts.append(f"Learnt from {config['train_fraction']:g} of the other training subjects.")
    parts += [f"{arm_label(arm)}, in other ways than the others: {json.dumps(own)}"
              for arm, own in config.get("per_arm", {}).items() if arm in plan.arms]
    if arms:
        parts.append("\n".join(
            f"{arm_label(arm)}: {_runs(m)}, {m['faces']} tested faces"
            + (f", {m['n']} predictions" if m["n"] != m["faces"] else "") + "; means of folds by seed, %: "
            + ", ".join(f"{100 * accuracy:.2f}" for accuracy in m["seeds"].values()) for arm, m in arms.items()
        ))
    if len({tuple(m["folds"]) for m in arms.values()}) > 1:
        parts.append("The arms stand on different folds: of the same ones are only the differences between two arms.")
    if missing:
        names = [f"{m['arm']} seed {m['seed']} fold {m['fold']}: {m['state']}" for m in missing]
        more = f"\nand {len(names) - 10} more" if len(names) > 10 else ""
        parts.append(f"Missing {len(names)} of {len(plan.runs())} runs:\n" + "\n".join(names[:10]) + more)
    return parts


def _runs(measured: Mapping[str, Any]) -> str:
    return f"{measured['runs']} run{'s' if measured['runs'] > 1 else ''}"


def _notes(plan: Plan, arms: Mapping[str, Any], sources: Sequence[str]) -> list[str]:
    """What to know of the tables, in paragraphs."""
    notes = [NOTES] if arms else []
    if {"fmpn", "no_prior"} <= set(arms):
        notes.append(NOTE_ON_ARMS)
    notes += [f"Published: {source}." for source in sources]
    if plan.own_splits and sources:
        notes.append("Published figures are of the split that their papers report, which need not be "
                     f"{plan.config['test_split']}.")
    return notes


def _draw(folder: Path, plan: Plan, found: Mapping[str, Any]) -> None:
    of = f"{plan.dataset}, {plan.cut}"
    for arm, measured in found["arms"].items():
        title = f"{arm_label(arm)}, {of}: {_runs(measured)} pooled"
        draw_confusion({**measured, "accuracy": measured["pooled"]}, title, folder / f"confusion-{arm}.png")
    accuracies = {arm_label(arm): [(run["fold"], run["accuracy"]) for run in found["runs"] if run["arm"] == arm]
                  for arm in found["arms"]}
    draw_folds(accuracies, of, folder / "folds.png")
