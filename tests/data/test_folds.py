"""Tests of finding folds; those of prepared sets are in tests/training/test_data.py."""

import pytest

from fmpn_timm.data.folds import find_folds, read_splits
from fmpn_timm.errors import InputError
from tests.data.readers.base import write_picture


def test_all_folds_test_everybody_once():
    folds = find_folds("drawn", options={"subjects": 20, "takes": 1, "size": 24})
    assert (folds.dataset, folds.protocol, folds.numbers) == ("drawn", "ten-folds", tuple(range(10)))
    tested = [subject for n in folds.numbers for subject in sorted({s.subject for s in folds.read(n).test.samples})]
    assert sorted(tested) == [f"{i:04d}" for i in range(20)]


def test_splits_stand_for_the_one_fold_of_what_has_no_protocol(tmp_path):
    folds = find_folds("rafdb", tmp_path, splits=("train", None, "test"))
    assert (folds.dataset, folds.protocol, folds.numbers, folds.of) == ("rafdb", None, (0,), "the data of rafdb")
    with pytest.raises(InputError, match="rafdb has no protocol"):
        find_folds("rafdb", tmp_path)


def test_a_folder_of_ones_own_has_its_splits_or_its_subjects(tmp_path):
    for split in ("train", "test"):
        write_picture(tmp_path / "parts" / split / "neutral" / "a.png")
        write_picture(tmp_path / "whole" / "neutral" / f"{split}.png")
    folds = find_folds("folder", tmp_path / "parts", splits=("train", None, "test"))
    assert (folds.protocol, folds.numbers, folds.read(0).test.split) == (None, (0,), "test")
    with pytest.raises(InputError, match=r"Say who is who, in a table subjects.csv \(image, subject\)"):
        find_folds("folder", tmp_path / "whole", splits=("train", None, "test"))


def test_a_split_that_is_not_there_is_called_by_its_option(tmp_path):
    write_picture(tmp_path / "train/happy/1.png")
    with pytest.raises(InputError, match="^--test_split valid: .*valid is not a folder.*holds: train"):
        read_splits("folder", tmp_path, ("train", None, "valid"), {})
    with pytest.raises(InputError, match="^/nowhere is not a folder"):
        read_splits("ferplus", "/nowhere", ("train", None, "valid"), {})
