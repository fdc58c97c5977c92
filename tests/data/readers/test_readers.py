"""Tests of reading a data set by its name."""

import json

import pytest

from fmpn_timm.data.readers import READERS, read_faces, splits_of
from fmpn_timm.data.samples import FaceSet
from fmpn_timm.errors import InputError
from tests.data.readers.base import write_picture


def test_reads_by_name_with_options():
    faces = read_faces("drawn", split="valid", subjects=5, takes=2)
    assert isinstance(faces, FaceSet)
    assert (faces.dataset, faces.split, len(faces)) == ("drawn", "valid", 16)


def test_train_is_the_split_unless_told():
    assert read_faces("drawn", subjects=5).split == "train"


def test_root_may_be_text_or_path(tmp_path):
    write_picture(tmp_path / "happy" / "a.png")
    assert len(read_faces("folder", tmp_path, "all")) == len(read_faces("folder", str(tmp_path), "all")) == 1


def test_unknown_data_set_lists_the_names():
    with pytest.raises(InputError, match="Unknown data set 'ckplus2': choose one of .*drawn, .*folder"):
        read_faces("ckplus2", "somewhere")


@pytest.mark.parametrize("dataset", sorted(set(READERS) - {"drawn"}))
def test_missing_root_names_the_option(dataset):
    with pytest.raises(InputError, match=f"{dataset}.*--root"):
        read_faces(dataset)


def test_a_value_of_the_wrong_kind_is_one_error(tmp_path):
    (tmp_path / "generic_neutral_mesh.obj").touch()
    for options in (dict(intensity=[0.5]), dict(reference=[[1]])):
        with pytest.raises(InputError, match="ict: .*Check its options: "):
            read_faces("ict", tmp_path, "all", **options)


@pytest.mark.parametrize("dataset", sorted(READERS))
def test_unknown_option_is_named(dataset, tmp_path):
    with pytest.raises(InputError, match="'flavour'"):
        read_faces(dataset, tmp_path, "train", flavour="mild")


def test_unknown_option_shows_the_known():
    with pytest.raises(InputError, match="ferplus: .*'rules'.*takes.*rule"):
        read_faces("ferplus", "somewhere", rules="majority")


@pytest.mark.parametrize("name", sorted(set(READERS) - {"folder"}))
def test_every_reader_has_splits(name):
    splits = splits_of(name)
    assert splits and all(isinstance(s, str) for s in splits) and ("all" not in splits or splits == ("all",))


def test_splits_of_a_prepared_set_are_its_own(tmp_path):
    info = {"dataset": "ckplus", "classes": [], "recipe": None, "splits": {"train": {}, "valid": {}}}
    (tmp_path / "prepared.json").write_text(json.dumps(info))
    assert splits_of("prepared", tmp_path) == ("train", "valid")
