"""Tests of the MMI reader, with small videos."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmpn_timm.data.readers.mmi import published_peaks, read_mmi
from fmpn_timm.errors import InputError
from tests.data.readers.base import ReaderTests

FRAMES = 70
#: Session, sequence, emotion, view: upright, on its side, and two of two views. The first two are in the FMPN protocol,
#: with peaks from frames 45 and 30.
VIDEOS = [("2", "S053-018", 1, 0), ("10", "S050-003", 6, 0), ("11", "S002-106", 3, 2), ("12", "S003-200", 4, None)]


def write_video(path: Path, frames: int = FRAMES) -> None:
    """The upper left quarter of frame n has the grey 3 n, the upper right 0, all below 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 32))
    assert writer.isOpened()
    for n in range(frames):
        frame = np.full((32, 64, 3), 255, np.uint8)
        frame[:16, :32], frame[:16, 32:] = 3 * n, 0
        writer.write(frame)
    writer.release()


def write_labels(folder: Path, name: str, emotion: int | str | None, view: int | str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tag = "" if emotion is None else f'<Metatag Name="Emotion" Value="{emotion}"/>'
    (folder / f"{name}.xml").write_text(
        f'<?xml version="1.0"?><Annotation><Metatag Name="AU" Value="9"/>{tag}</Annotation>'
    )
    attribute = "" if view is None else f' view="{view}"'
    track = f'<track filename="{name}.avi" type="Video"{attribute}/>'
    (folder / "session.xml").write_text(f'<session sessionId="1">{track}</session>')


@pytest.fixture(scope="session")
def video(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "video.avi"
    write_video(path)
    return path.read_bytes()


@pytest.fixture
def root(tmp_path, video) -> Path:
    root = tmp_path / "mmi"
    for session, name, emotion, view in VIDEOS:
        folder = root / "Sessions" / session
        write_labels(folder, name, emotion, view)
        (folder / f"{name}.avi").write_bytes(video)
        (folder / f"{name}-oao_aucs.xml").write_text("<ActionUnits/>")
        (folder / ".DS_Store").write_bytes(b"x")
    pictures = root / "Sessions" / "1767"
    pictures.mkdir()
    (pictures / "S010-001.jpg").write_bytes(b"x")
    write_labels(root / "Sessions" / "20", "S053-300", 9, 0)
    (root / "Sessions" / "20" / "S053-300.avi").write_bytes(video)
    write_labels(root / "Sessions" / "21", "S053-301", None, 0)
    (root / "Sessions" / "21" / "S053-301.avi").write_bytes(video)
    return root


class TestMMI(ReaderTests):
    dataset = "mmi"
    split = "all"

    @pytest.fixture(autouse=True)
    def data(self, root):
        self.root = root

    def read(self, split):
        return read_mmi(self.root, split)


def names(samples) -> list[str]:
    return [s.source.rsplit(":", 1)[1] for s in samples]


def test_published_sequences_take_the_published_frames(root):
    faces = read_mmi(root)
    peaks = {name: published_peaks()[name] for name in ("S053_018", "S050_003")}
    assert names(faces.samples) == [f"{name}_{first + k:03d}.png" for name, first in peaks.items() for k in range(3)]
    assert [s.expression for s in faces.samples] == ["anger"] * 3 + ["surprise"] * 3
    assert names(faces.neutral) == ["S053_018_000.png", "S050_003_000.png"]
    assert faces.options["left_out"] == {"not published": 2, "emotion 9": 1, "no emotion": 1,
                                         "sessions without a video": 1}
    assert faces.options["views"] == {"0": 2}


def test_published_peaks():
    peaks = published_peaks()
    assert len(peaks) == 208 and len({name.split("_")[0] for name in peaks}) == 31
    assert peaks["S050_003"] == 30 and "S002_106" not in peaks


def test_other_sequences_take_the_middle(root):
    faces = read_mmi(root, sequences="all")
    middle = [s for s in faces.samples if (s.subject, s.sequence) == ("S002", "106")]
    assert [s.frame for s in middle] == [34, 35, 36] and len(faces) == 12
    assert {s.expression for s in middle} == {"fear"}
    assert faces.options["views"] == {"0": 2, "2": 1, "unsaid": 1}
    assert [s.frame for s in read_mmi(root, sequences="all", frames=1).samples] == [46, 31, 35, 35]


def test_the_neutral_frame_never_carries_the_label(root):
    write_video(root / "Sessions/11/S002-106.avi", frames=5)
    frames = [s.frame for s in read_mmi(root, sequences="all", frames=4).samples if s.subject == "S002"]
    assert frames == [1, 2, 3, 4]
    assert min(s.frame for s in read_mmi(root, frames=64).samples) == 1


def grey(sample) -> np.ndarray:
    """Means of the quarters (2, 2) of the picture."""
    picture = sample.picture().astype(float).mean(2)
    height, width = (s // 2 for s in picture.shape)
    return np.array([[picture[y : y + height, x : x + width].mean() for x in (0, width)] for y in (0, height)])


def test_frames_are_the_ones_named(root):
    for sample in [*read_mmi(root).samples[:3], read_mmi(root).neutral[0]]:
        copy = pickle.loads(pickle.dumps(sample))
        assert copy.picture().shape == (32, 64, 3)
        np.testing.assert_allclose(grey(copy), [[3 * sample.frame, 0], [255, 255]], atol=2)


def pictures(root: Path, **options) -> dict[str, tuple[int, np.ndarray]]:
    """The first frame of each subject: its grey by number, and its quarters."""
    found = {}
    for sample in read_mmi(root, sequences="all", **options).samples:
        if sample.subject not in found:
            found[sample.subject] = (3 * sample.frame, grey(sample))
    return found


def test_views_are_turned_and_halved_by_subject(root):
    seen, quarters = zip(*(pictures(root)[subject] for subject in ("S053", "S050", "S002", "S003")), strict=True)
    upright, lying, right, left = quarters
    np.testing.assert_allclose(upright, [[seen[0], 0], [255, 255]], atol=2)
    np.testing.assert_allclose(lying, [[255, seen[1]], [255, 0]], atol=2)  # turned clockwise
    np.testing.assert_allclose(right, [[0, 0], [255, 255]], atol=2)
    np.testing.assert_allclose(left, [[seen[3], seen[3]], [255, 255]], atol=2)


def test_views_are_turned_and_halved_as_told(root):
    found = pictures(root, rotation=270, half="left")
    for subject in ("S053", "S050"):
        np.testing.assert_allclose(found[subject][1], [[0, 255], [found[subject][0], 255]], atol=2)
    np.testing.assert_allclose(found["S002"][1][0], found["S002"][0], atol=2)


def test_frames_of_480_lines_are_upright(root):
    writer = cv2.VideoWriter(str(root / "Sessions/10/S050-003.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (640, 480))
    for _ in range(40):
        writer.write(np.zeros((480, 640, 3), np.uint8))
    writer.release()
    assert read_mmi(root).samples[-1].picture().shape == (480, 640, 3)


def test_upper_case_names_and_folders_in_session_files(root):
    folder = root / "Sessions" / "10"
    (folder / "S050-003.avi").rename(folder / "S050-003.AVI")
    (folder / "session.xml").write_text('<session><Track Filename="D:\\mmi\\S050-003.avi" View="1"/></session>')
    faces = read_mmi(root)
    assert faces.samples[-1].source.endswith("S050-003.AVI:" + names(faces.samples)[-1])
    assert faces.options["views"] == {"0": 1, "1": 1}
    (folder / "session.xml").write_text('<session><track view="2"/></session>')
    assert read_mmi(root).options["views"] == {"0": 1, "2": 1}


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0AVI nothing more"])
def test_broken_video_is_named(root, content):
    (root / "Sessions/2/S053-018.avi").write_bytes(content)
    sample = read_mmi(root).samples[0]
    with pytest.raises(InputError, match=rf"S053-018\.avi: no video can be read from it \({len(content)} bytes\)"):
        sample.picture()


def test_video_that_ends_too_early_is_named(root):
    write_video(root / "Sessions/2/S053-018.avi", frames=20)
    with pytest.raises(InputError, match=r"S053-018\.avi ends after 20 frames, frame 45 is asked for"):
        read_mmi(root).samples[0].picture()
    write_video(root / "Sessions/11/S002-106.avi", frames=3)
    with pytest.raises(InputError, match=r"S002-106\.avi has 3 frames; 3 beside a neutral one are needed"):
        read_mmi(root, sequences="all")


ENTITY = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a><Metatag Name="Emotion" Value="&e;"/></a>'
LAUGHS = '<!DOCTYPE a [<!ENTITY a "1"><!ENTITY b "&a;&a;">]><a><Metatag Name="Emotion" Value="&b;"/></a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [ENTITY, LAUGHS, '<!DOCTYPE a SYSTEM "http://localhost/a.dtd"><a/>'])
def test_declarations_are_refused(root, text, encoding):
    for name in ("S053-018.xml", "session.xml"):
        path = root / "Sessions/2" / name
        before = path.read_bytes()
        path.write_bytes(text.encode(encoding))
        with pytest.raises(InputError, match=rf"{name}: it declares a document type"):
            read_mmi(root)
        path.write_bytes(before)


@pytest.mark.parametrize(("text", "message"), [
    ("<a><b></a>", r"S053-018\.xml: mismatched tag.*Fetch"), ("", r"S053-018\.xml: no element found"),
    ('<a><Metatag Name="Emotion" Value="happy"/></a>', "the emotion is a number, not 'happy'"),
    ('<?xml version="1.0" encoding="klingon"?><a/>', r"S053-018\.xml: "),
])
def test_broken_xml_is_named(root, text, message):
    (root / "Sessions/2/S053-018.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mmi(root)


def test_unknown_view(root):
    write_labels(root / "Sessions/2", "S053-018", 1, 7)
    with pytest.raises(InputError, match=r"2/session\.xml: unknown view '7'"):
        read_mmi(root)


def test_a_sequence_twice(root, video):
    write_labels(root / "Sessions/99", "S053-018", 1, 0)
    (root / "Sessions/99/S053-018.avi").write_bytes(video)
    with pytest.raises(InputError, match=r"99/S053-018\.avi is there twice, also as .*2/S053-018\.avi"):
        read_mmi(root)


@pytest.mark.parametrize(("options", "message"), [
    ({"sequences": "some"}, "no choice of sequences 'some': choose one of published, all"),
    ({"rotation": 45}, "no rotation 45: choose one of auto, 0, 90, 180, 270"), ({"half": "top"}, "no half 'top'"),
    ({"frames": 0}, "frames must be"),
])
def test_bad_options(root, options, message):
    with pytest.raises(InputError, match=message):
        read_mmi(root, **options)


def test_wrong_root(root):
    for wrong, message in ((root.parent, "is one level too high"), (root / "Sessions", "is one level too low"),
                           (root / "Sessions/2", "is two levels too low")):
        with pytest.raises(InputError, match=f"{wrong} {message}: give {root}\\."):
            read_mmi(wrong)


def test_sequences_of_which_none_is_published(root):
    for session in (root / "Sessions").iterdir():
        for video in session.glob("*.avi"):
            if video.stem.upper().replace("-", "_") in published_peaks():
                video.unlink()
    with pytest.raises(InputError, match=r"none of its 2 labelled sequences is one of the published .*sequences=all"):
        read_mmi(root)
