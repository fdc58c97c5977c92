"""Tests of the tables."""

import pytest

from fmpn_timm.training.tables import (
    METHODS,
    arm_label,
    arms_table,
    comparisons,
    costs_table,
    published_sources,
    published_table,
    sort_arms,
    table_one,
)

MEASURED = dict(fold_mean=0.9012, fold_interval=(0.88, 1.02), pooled=0.9, subject_interval=None, macro_f1=0.85)


def rows(markdown: str) -> dict[str, list[str]]:
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in markdown.splitlines()]
    return {first: rest for first, *rest in cells[2:]}


def test_table_one_has_the_papers_rows_in_the_papers_order():
    found = rows(table_one({"fmpn": MEASURED, "cnn": MEASURED}, "ckplus", "fmpn"))
    assert [(name, float(row[1])) for name, row in found.items()] == [
        ("LBP-TOP", 88.99), ("HOG 3D", 91.44), ("DTAGN", 97.25), ("STM-ExpLet", 94.19), ("IACNN", 95.37),
        ("DeRL", 97.30), ("CNN (backbone alone)", 90.78), ("FMPN without L_M", 91.82), ("FMPN", 98.06),
    ]
    assert found["FMPN"] == ["image", "98.06", "90.12", "88.0 to 100.0", "90.00", "-", "85.00"]
    assert [source[:22] for source in published_sources("ckplus", "fmpn")] == ["Table I of Chen et al."]
    assert found["FMPN without L_M"] == ["image", "91.82", "-", "-", "-", "-", "-"]


def test_published_figures_of_another_protocol_are_left_out():
    found = rows(table_one({"cnn": MEASURED}, "ckplus", "fn2en-8"))
    assert found["FaceNet2ExpNet"][1] == "96.80" and list(found) == ["FaceNet2ExpNet", "CNN (backbone alone)"]


def test_nothing_published_and_an_arm_that_the_paper_does_not_have():
    text = table_one({"mine": MEASURED, "fmpn": MEASURED, "cnn": MEASURED}, "drawn", "ten-folds")
    assert "published" not in text
    assert list(rows(text)) == ["mine", "CNN (backbone alone)", "FMPN"]
    assert rows(text)["mine"] == ["90.12", "88.0 to 100.0", "90.00", "-", "85.00"]


def test_published_figures_of_systems_come_with_their_sources():
    text = published_table(["msca", "derl", "mine"])
    found = [line for line in text.splitlines() if line.startswith("| MSCA")]
    assert [line.split(" | ")[1:4] for line in found] == [
        ["rafdb", "-", "89.63"], ["affectnet", "-", "61.82"], ["ferplus", "-", "91.15"]]
    assert "| DeRL | ckplus | fmpn | 97.30 | Table I" in text and "mine" not in text
    assert "| DeRL | oulu_casia | vl-strong | 88.00 | Yang et al." in text and "recalled, not checked" in text
    assert published_sources("oulu_casia", "vl-strong")[0].endswith("not checked")


def test_published_figures_of_affectnet_are_of_seven_classes():
    assert "61.52" in table_one({"fmpn": MEASURED}, "affectnet", None, classes=7)
    for classes in (None, 8):  # 8 is the reader's own
        table = table_one({"fmpn": MEASURED}, "affectnet", None, classes=classes)
        assert "61.52" not in table and "61.82" in table  # MSCA's source does not say
        (source,) = published_sources("affectnet", None, classes)
        assert "does not say how many classes" in source


def test_costs():
    cost = dict(stages={"mask": 3, "joint": 10}, training_seconds=71.6, parameters=1.5e6, gmacs=0.0312,
                images_per_second=1234.5)
    assert rows(costs_table({"fmpn": cost}))["FMPN"] == ["mask: 3, joint: 10", "72", "1.50", "0.031", "1234"]


def test_arms_stand_in_the_order_of_the_table():
    assert sort_arms(["fmpn", "cnn", "zz", "aa", "derl"]) == ["derl", "aa", "zz", "cnn", "fmpn"]
    assert arm_label("cnn") == "CNN (backbone alone)" and arm_label("mine") == "mine"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.label)
def test_published_figures_are_percentages_with_a_source(method):
    assert method.published and method.source
    assert all(50 < accuracy < 100 for accuracy in method.published.values())


def test_latex_is_balanced_and_escaped():
    text = table_one({"no_prior": MEASURED}, "mmi", "fmpn", latex=True)
    header, *body = (line for line in text.splitlines() if line.endswith(r"\\"))
    assert text.startswith(r"\begin{tabular}{lrrrrrrr}") and text.endswith(r"\end{tabular}")
    assert len(body) == 9 and {line.count("&") for line in (header, *body)} == {7}
    assert r"FMPN without L\_M & image & 63.10 & 90.12" in text and " %" not in text.replace(r" \%", "")


def test_comparisons():
    pair = dict(arms=["cnn", "fmpn"], fold_mean=0.0728, folds=dict(low=0.01, high=0.13, p=0.0004), wilcoxon=0.0273,
                pooled=-0.001, pooled_interval=(-0.02, 0.02), mcnemar=[dict(seed=1, p=0.5), dict(seed=2, p=0.1)])
    row = rows(comparisons([pair]))["FMPN - CNN (backbone alone)"]
    assert row == ["+7.28", "+1.0 to +13.0", "< 0.001", "0.027", "-0.10", "-2.0 to +2.0", "0.500 (seed 1)"]
    row = rows(comparisons([dict(pair, folds=None, wilcoxon=None)]))["FMPN - CNN (backbone alone)"]
    assert row[:4] == ["+7.28", "-", "-", "-"]
    assert r"$<$ 0.001" in comparisons([pair], latex=True)


def test_arms_side_by_side():
    summary = {
        "data": {"dataset": "drawn"}, "split": {"reported on": "test"}, "rule": "majority", "seed": 3,
        "metrics": {"accuracy": 0.5, "macro_f1": 0.4, "n": 8}, "config": {"backbone": "resnet18"},
        "parameters": 1_250_000, "training_seconds": 12,
    }
    text = arms_table({"cnn": summary, "mine": summary})
    assert text.startswith("drawn, test, majority rule, n = 8, resnet18, seed 3\n\n")
    assert text.splitlines()[-1] == "| mine | 50.00 | 40.00 | 1.25 | 12 |"
