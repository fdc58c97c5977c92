"""Tables of results: arms side by side, and the paper's Table I with published figures beside measured ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fmpn_timm.data.protocols import OF_DERL, OF_FMPN, OF_FN2EN
from fmpn_timm.markdown import markdown_table

__all__ = [
    "ARMS",
    "METHODS",
    "Method",
    "arm_label",
    "arms_table",
    "comparisons",
    "costs_table",
    "published_sources",
    "published_table",
    "sort_arms",
    "table_one",
]

#: The arms of the paper's Table I, and what tables call them.
ARMS = {"cnn": "CNN (backbone alone)", "no_prior": "FMPN without L_M", "fmpn": "FMPN"}

CKPLUS, MMI, AFFECTNET = ("ckplus", "fmpn"), ("mmi", "fmpn"), ("affectnet", None)
OULU, BU3DFE, BP4D = ("oulu_casia", "vl-strong"), ("bu3dfe", "derl"), ("bp4d", "derl")

OF_MSCA = ("the abstract of Wen, Zhou, Gan, Luo, a multiscale network with channel-wise self-attention and center "
           "cosine loss, 2024 (of AffectNet it does not say how many classes)")


@dataclass(frozen=True)
class Method:
    """A row of Table I.

    Attributes:
        label: What tables call it.
        sees: ``sequence`` or ``image``.
        published: Published accuracies in percent, by data set and protocol (None where there are no folds).
        source: Where they were published.
        sources: Sources of figures that come from elsewhere than ``source``.
        classes: How many classes published figures are of, where a data set is read with different numbers of them
            and the source says so.
        arm: The arm that is this method in our hands, if any.
    """

    label: str
    sees: str
    published: Mapping[tuple[str, str | None], float] = field(default_factory=dict)
    source: str = f"Table I of {OF_FMPN}"
    sources: Mapping[tuple[str, str | None], str] = field(default_factory=dict)
    classes: Mapping[tuple[str, str | None], int] = field(default_factory=lambda: {AFFECTNET: 7})
    arm: str | None = None

    def published_on(self, dataset: str, protocol: str | None, classes: int | None) -> float | None:
        """The published figure; None where there is none, or it is of another number of classes."""
        key = dataset, protocol
        return self.published.get(key) if self.classes.get(key, classes) == classes else None


#: In the order of Table I, whose figures these are; methods that it does not have stand before its own three arms.
METHODS = (
    Method("LBP-TOP", "sequence", {CKPLUS: 88.99, MMI: 59.51}),
    Method("HOG 3D", "sequence", {CKPLUS: 91.44, MMI: 60.89}),
    Method("DTAGN", "sequence", {CKPLUS: 97.25, MMI: 70.24}),
    Method("STM-ExpLet", "sequence", {CKPLUS: 94.19, MMI: 75.12}),
    Method("IACNN", "image", {CKPLUS: 95.37, MMI: 71.55}),
    Method("DeRL", "image", {CKPLUS: 97.30, MMI: 73.23, OULU: 88.0, BU3DFE: 84.17, BP4D: 81.39},
           sources=dict.fromkeys((OULU, BU3DFE, BP4D), f"{OF_DERL}, as recalled, not checked"), arm="derl"),
    Method("FaceNet2ExpNet", "image", {("ckplus", "fn2en-6"): 98.6, ("ckplus", "fn2en-8"): 96.8, OULU: 87.71,
                                       ("tfd", "official"): 88.9, ("sfew", None): 55.15}, OF_FN2EN, arm="fn2en"),
    Method("MSCA", "image", {("rafdb", None): 89.63, AFFECTNET: 61.82, ("ferplus", None): 91.15}, OF_MSCA, classes={},
           arm="msca"),
    Method(ARMS["cnn"], "image", {CKPLUS: 90.78, MMI: 68.81, AFFECTNET: 60.86}, arm="cnn"),
    Method(ARMS["no_prior"], "image", {CKPLUS: 91.82, MMI: 63.10, AFFECTNET: 60.01}, arm="no_prior"),
    Method(ARMS["fmpn"], "image", {CKPLUS: 98.06, MMI: 82.74, AFFECTNET: 61.52}, arm="fmpn"),
)


def arm_label(arm: str) -> str:
    """What tables call an arm; its name, where they know no better."""
    return next((m.label for m in METHODS if m.arm == arm), arm)


def sort_arms(arms: Sequence[str]) -> list[str]:
    """Arms in the order of the tables: those that Table I does not have stand before its own three."""
    known = [m.arm for m in METHODS]
    return sorted(arms, key=lambda arm: (known.index(arm if arm in known else "cnn"), arm in known, arm))


def arms_table(summaries: dict[str, dict[str, Any]]) -> str:
    """The arms of single runs as a Markdown table, with what the figures are of.

    Args:
        summaries: The summary of a run of each arm, as ``train`` returns it.
    """
    first = next(iter(summaries.values()))
    rule = f", {first['rule']} rule" if first["rule"] else ""
    header = ["arm", "accuracy, %", "macro F1, %", "parameters, M", "training, s"]
    rows = [
        [arm_label(arm), _percent(s["metrics"]["accuracy"]), _percent(s["metrics"]["macro_f1"]),
         f"{s['parameters'] / 1e6:.2f}", str(s["training_seconds"])]
        for arm, s in summaries.items()
    ]
    of = (f"{first['data']['dataset']}, {first['split']['reported on']}{rule}, n = {first['metrics']['n']}, "
          f"{first['config']['backbone']}, seed {first['seed']}")
    return f"{of}\n\n{markdown_table(header, rows)}"


def table_one(
        arms: Mapping[str, Mapping[str, Any]],
        dataset: str,
        protocol: str | None,
        latex: bool = False,
        classes: int | None = None,
) -> str:
    """Table I: the published figures of a protocol beside those measured by cross-validation.

    Args:
        arms: What was measured of each arm: ``fold_mean``, ``pooled`` and ``macro_f1`` in [0, 1], and the intervals
            ``fold_interval`` and ``subject_interval``, pairs in [0, 1] or None.
        dataset: Name of the data set.
        protocol: Name of its protocol.
        latex: A LaTeX tabular (it needs the package booktabs) in place of Markdown.
        classes: How many classes the faces have: FMPN's published figures of AffectNet are of 7.

    Returns:
        Rows in the order of the paper's table; where nothing is published of the protocol, measured figures alone.
    """
    known = {m.arm for m in METHODS}
    others = (Method(arm, "image", arm=arm) for arm in arms if arm not in known)
    methods = (*METHODS[:-len(ARMS)], *others, *METHODS[-len(ARMS):])
    header = ["method", "input", "published accuracy, %", "measured: mean of folds, %", "95 % over folds",
              "measured: pooled, %", "95 % over subjects", "measured: macro F1, %"]
    rows, any_published = [], False
    for method in methods:
        published, measured = method.published_on(dataset, protocol, classes), arms.get(method.arm)
        if published is None and measured is None:
            continue
        any_published |= published is not None
        row = [method.label, method.sees, "-" if published is None else f"{published:.2f}"]
        if measured is None:
            row += ["-"] * 5
        else:
            row += [_percent(measured["fold_mean"]), _interval(measured["fold_interval"]), _percent(measured["pooled"]),
                    _interval(measured["subject_interval"]), _percent(measured["macro_f1"])]
        rows.append(row)
    if not any_published:
        header, *rows = ([row[0], *row[3:]] for row in (header, *rows))
    return (_latex if latex else markdown_table)(header, rows)


def published_sources(dataset: str, protocol: str | None, classes: int | None = None) -> list[str]:
    """Where the published figures of a protocol stand; arguments as for ``table_one``."""
    key = dataset, protocol
    published = (m for m in METHODS if m.published_on(*key, classes) is not None)
    return list(dict.fromkeys(m.sources.get(key, m.source) for m in published))


def published_table(arms: Sequence[str]) -> str:
    """Every published figure of the methods that some arms are, as a Markdown table with its source."""
    rows = [
        [m.label, dataset, protocol or "-", f"{accuracy:.2f}", m.sources.get((dataset, protocol), m.source)]
        for m in METHODS if m.arm in arms for (dataset, protocol), accuracy in m.published.items()
    ]
    return markdown_table(["method", "data set", "protocol", "published accuracy, %", "source"], rows)


def costs_table(costs: Mapping[str, Mapping[str, Any]]) -> str:
    """What arms cost, as a Markdown table.

    Args:
        costs: By arm, ``stages`` (epochs, by the stage's name), ``training_seconds`` (of a run, the mean of all),
            ``parameters``, ``gmacs`` (multiply-accumulates of a face, in 10^9) and ``images_per_second``.
    """
    header = ["arm", "stages: epochs", "training of a run, s", "parameters, M", "GMACs", "faces/s"]
    rows = [
        [arm_label(arm), ", ".join(f"{name}: {epochs}" for name, epochs in c["stages"].items()),
         f"{c['training_seconds']:.0f}", f"{c['parameters'] / 1e6:.2f}", f"{c['gmacs']:.3f}",
         f"{c['images_per_second']:.0f}"] for arm, c in costs.items()
    ]
    return markdown_table(header, rows)


def comparisons(pairs: Sequence[Mapping[str, Any]], latex: bool = False) -> str:
    """The paired tests between arms.

    Args:
        pairs: Each with ``arms`` (two names), ``fold_mean`` (the difference), ``folds`` (a corrected t test of it:
            ``low``, ``high``, ``p``) or None, ``wilcoxon`` (p) or None, ``pooled`` (the difference),
            ``pooled_interval`` or None, and ``mcnemar`` (a list, one entry a seed, with ``seed`` and ``p``).
        latex: A LaTeX tabular in place of Markdown.
    """
    header = ["difference", "mean of folds, points", "95 % (corrected t)", "p (corrected t)", "p (Wilcoxon)",
              "pooled, points", "95 % over subjects", "p (McNemar)"]
    rows = []
    for pair in pairs:
        first, second = (arm_label(arm) for arm in pair["arms"])
        test, mcnemar = pair["folds"], pair["mcnemar"][0]
        rows.append([
            f"{second} - {first}",
            f"{100 * pair['fold_mean']:+.2f}",
            "-" if test is None else _interval((test["low"], test["high"]), signed=True),
            "-" if test is None else _p(test["p"]),
            "-" if pair["wilcoxon"] is None else _p(pair["wilcoxon"]),
            f"{100 * pair['pooled']:+.2f}",
            _interval(pair["pooled_interval"], signed=True),
            f"{_p(mcnemar['p'])} (seed {mcnemar['seed']})",
        ])
    return (_latex if latex else markdown_table)(header, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _interval(ends: tuple[float, float] | None, signed: bool = False) -> str:
    if ends is None:
        return "-"
    low, high = (f"{100 * end:+.1f}" if signed else f"{100 * min(max(end, 0), 1):.1f}" for end in ends)
    return f"{low} to {high}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(cell) for cell in cells) + r" \\"

    return "\n".join([rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", line(header), r"\midrule",
                      *map(line, rows), r"\bottomrule", r"\end{tabular}"])


def _escaped(text: str) -> str:
    for character in "%_&#":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "$<$").replace(" - ", " $-$ ")
