"""Tests of files that appear when they are complete."""

import hashlib

import pytest
from matplotlib.figure import Figure
from safetensors import SafetensorError

from fmpn_timm import files
from fmpn_timm.errors import InputError
from fmpn_timm.files import FULL, os_errors, partial_name, save_figure, sha256, whole, write_text


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole(path) as partial:
        partial.write_text("a")
        assert not path.exists() and partial == partial_name(path)
    assert path.read_text() == "a" and list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "ä")
    with pytest.raises(KeyboardInterrupt), whole(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_bytes() == "ä".encode() and list(tmp_path.iterdir()) == [path]


def test_a_figure_is_of_the_kind_its_name_says(tmp_path):
    for name, magic in (("a.png", b"\x89PNG"), ("a.jpg", b"\xff\xd8"), ("a", b"\x89PNG")):
        save_figure(Figure(), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)
    with pytest.raises(InputError, match=r"a.xyz: Format 'xyz' is not supported.*Name it .png"):
        save_figure(Figure(), tmp_path / "a.xyz")
    assert len(list(tmp_path.iterdir())) == 3
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="folder.png cannot be written: is a directory"):
        save_figure(Figure(), tmp_path / "folder.png")


def test_letters_that_the_font_lacks_are_taken_from_another(tmp_path, monkeypatch, recwarn):
    def saved(*fonts: str) -> bytes:
        monkeypatch.setattr(files, "FONTS", fonts)
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0.5, "笑 Ⓐ")
        save_figure(figure, tmp_path / "a.png")
        return (tmp_path / "a.png").read_bytes()

    assert saved() == saved("no such font") != saved("STIXGeneral")  # comes with matplotlib, and has the second
    assert not recwarn.list


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1_000_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_what_safetensors_cannot_write_is_an_error_of_the_system(tmp_path):
    """Its own error is no OSError, and says the number."""
    with pytest.raises(OSError, match="No space left") as caught, whole(tmp_path / "a.safetensors"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert caught.value.errno in FULL and caught.value.filename == str(tmp_path / "a.safetensors")
    with pytest.raises(SafetensorError), os_errors(tmp_path):
        raise SafetensorError("no such tensor")
