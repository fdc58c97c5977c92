"""Tests of the app: what it says of files, over HTTP and in a browser, and what it leaves behind."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from fmpn_timm.data.classes import EXPRESSIONS
from fmpn_timm.errors import InputError
from fmpn_timm.inference import Predictor, app, look
from fmpn_timm.inference.page import video_page
from fmpn_timm.inference.sources import Frame
from tests.faces.marked import Marked, marked

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
#: Flags that keep the browser itself from calling anybody.
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]




@pytest.fixture
def picture(tmp_path) -> str:
    Image.fromarray(marked((5, 5, 30), (60, 20, 70))).save(tmp_path / "two.png")
    return str(tmp_path / "two.png")


def test_every_face_of_a_picture_is_shown_with_its_numbers(predictor, picture):
    looked = look.look_at(predictor, picture)
    faces = predictor(picture).faces
    assert looked.page.count("<article") == 2 and looked.page.count("<figcaption>where the model") == 2
    assert f"{faces[0].label} {100 * faces[0].probability:.0f} %" in looked.page
    assert all(looked.page.count(f">{name}</span>") == 2 for name in EXPRESSIONS)
    assert [row["label"] for row in looked.numbers] == [face.label for face in faces] and looked.video is None


def test_quality_is_said_in_words(predictor, picture):
    assert "small" in predictor(picture).faces[1].quality.flags
    assert "the face is small" in look.look_at(predictor, picture).page


def test_uncertain_faces_say_what_is_likeliest(model, picture):
    page = look.look_at(Predictor(model, detector=Marked(), abstain=1.0), picture).page
    assert "uncertain: perhaps" in page


def test_only_the_largest_of_many_faces_are_shown(predictor, tmp_path):
    many = [(40 * (i % 5), 40 * (i // 5), 30) for i in range(15)]
    Image.fromarray(marked(*many, shape=(120, 200))).save(tmp_path / "many.png")
    looked = look.look_at(predictor, str(tmp_path / "many.png"))
    assert looked.page.count("<article") == 12 and "3 smaller faces" in looked.page and len(looked.numbers) == 15


def test_picture_without_a_face(predictor, tmp_path):
    Image.fromarray(marked()).save(tmp_path / "none.png")
    looked = look.look_at(predictor, str(tmp_path / "none.png"))
    assert "No face was found" in looked.page and looked.numbers == ()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff" + bytes(50)])
def test_what_is_no_picture_is_said_on_the_page(predictor, tmp_path, content):
    file = tmp_path / "<b>.jpg"
    file.write_bytes(content)
    looked = look.look_at(predictor, str(file))
    assert "cannot be read" in looked.page and "wrong" in looked.page and "Traceback" not in looked.page
    assert "<b>.jpg" not in looked.page and looked.numbers == ()


def test_file_that_was_deleted_meanwhile(predictor, tmp_path):
    assert "No such file" in look.look_at(predictor, str(tmp_path / "gone.png")).page


def test_large_files_are_refused(predictor, picture, monkeypatch):
    monkeypatch.setattr(look, "MAX_PICTURE", 100)
    assert "no more than 0 MB are taken" in look.look_at(predictor, picture).page


def test_neutral_face_is_compared_with_the_largest(predictor, picture, tmp_path):
    Image.fromarray(marked((10, 20, 70))).save(tmp_path / "neutral.png")
    page = look.look_at(predictor, picture, str(tmp_path / "neutral.png")).page
    assert page.count("<figcaption>neutral face") == page.count("<figcaption>where it really moved") == 1
    first, second = page.split("</article>")[:2]
    assert "neutral face" in first and "neutral face" not in second


@pytest.mark.parametrize("content, words", [(b"no picture", "cannot be read"), (None, "shows no face")])
def test_bad_neutral_face_is_said_beside_the_result(predictor, picture, tmp_path, content, words):
    Image.fromarray(marked()).save(tmp_path / "neutral.png")
    if content:
        (tmp_path / "neutral.png").write_bytes(content)
    looked = look.look_at(predictor, picture, str(tmp_path / "neutral.png"))
    assert f"neutral face {words}" in looked.page and looked.page.count("<article") == 2
    assert ".." not in re.sub("<[^>]*>", "", looked.page)


def test_one_frame_is_one(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "frames", lambda source: _frames(1, 0.25))
    page = look.look_at(predictor, "some.mp4", folder=tmp_path).page
    assert "1 frame was looked at: 1 person." in page


def test_people_of_a_video_are_followed(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "MAX_SECONDS", 3)
    monkeypatch.setattr(look, "frames", lambda source: _frames(30, 0.25))
    told = []
    looked = look.look_at(predictor, "some.MP4", folder=tmp_path, told=told.append)
    person, = looked.numbers
    assert (person["track"], person["from"], person["to"], person["frames"]) == (0, 0, 2.75, 12)
    assert sum(person[name] for name in EXPRESSIONS) == pytest.approx(1)
    assert told == [0.25 * i for i in range(12)]
    assert Path(looked.video).stat().st_size and Path(looked.video).parent.parent == tmp_path
    assert "Probabilities over time" in looked.page and "12 frames were looked at: 1 person." in looked.page
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["seen.mp4"]


def test_those_seen_longest_are_shown_beside_their_neutral_faces(predictor, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(look, "MAX_TRACKS", 1)
    monkeypatch.setattr(look, "with_comparisons", lambda prediction, *_: shown.append(prediction) or prediction)
    places = [((5, 5, 30), (60, 20, 70))] * 2 + [((60, 20, 70),)] * 6  # the first goes soon
    monkeypatch.setattr(look, "frames", lambda source: (
        Frame("video", time=0.25 * i, picture=marked(*faces), number=i) for i, faces in enumerate(places)))
    looked = look.look_at(predictor, "some.mp4", folder=tmp_path)
    longest, _ = sorted(looked.numbers, key=lambda person: -person["frames"])
    assert len(looked.numbers) == 2 and {p.faces[0].track for p in shown} == {longest["track"]}


def test_video_that_breaks_off_shows_what_there_was(predictor, tmp_path, monkeypatch):
    frames = [*_frames(3, 0.25), Frame("video", reason="the video is cut after 0.50 s")]
    monkeypatch.setattr(look, "frames", lambda source: iter(frames))
    looked = look.look_at(predictor, "some.mp4", folder=tmp_path)
    assert "The video is cut after 0.50 s" in looked.page and looked.numbers[0]["frames"] == 3


def test_what_is_no_video_is_said_and_leaves_nothing(predictor, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "out").mkdir()
    looked = look.look_at(predictor, str(tmp_path / "text.mp4"), folder=tmp_path / "out")
    assert "This file cannot be read" in looked.page and looked.video is None
    assert not os.listdir(tmp_path / "out")


def test_what_fails_on_the_way_leaves_nothing(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(look, "frames", lambda source: _frames(9, 0.25))

    def told(seconds):
        if seconds == 1:
            raise RuntimeError("nobody listens")

    with pytest.raises(RuntimeError, match="nobody listens"):
        look.look_at(predictor, "some.mp4", folder=tmp_path, told=told)
    assert not os.listdir(tmp_path)


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r"fmpn-timm\[app\]"):
        app.run_app("local-dir:nowhere")


def test_folder_is_private_and_goes_whatever_happens(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with pytest.raises(RuntimeError), app.private_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "face.png").write_bytes(b"face")
        raise RuntimeError
    assert not folder.exists() and os.environ["GRADIO_TEMP_DIR"] == "before"


@pytest.fixture(scope="module")
def page(predictor):
    pytest.importorskip("gradio", reason='needs pip install "fmpn-timm[app]"')
    with app.served(predictor, "tiny <model>") as running:
        yield running


def test_it_answers_over_http(page, predictor, picture):
    html, video, numbers = _client(page).predict(_file(picture), None, api_name="/look")
    assert html.count("<article") == 2 and not (video or {}).get("value")
    assert [row["label"] for row in numbers] == [face.label for face in predictor(picture).faces]


def test_bad_uploads_are_answered_too(page, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    html, *_ = _client(page).predict(_file(tmp_path / "text.jpg"), None, api_name="/look")
    assert "This file cannot be read" in html


def test_files_of_this_computer_are_not_given_away(page, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    assert _get(page, f"gradio_api/file={tmp_path}/secret.txt").status_code in (403, 404)
    answer = _post(page, "gradio_api/call/look", json={"data": [_described(str(tmp_path / "secret.txt")), None]})
    assert "secret" not in _get(page, f"gradio_api/call/look/{answer.json()['event_id']}").text


def test_too_large_an_upload_is_refused_and_not_kept(page, monkeypatch):
    monkeypatch.setattr(page, "max_file_size", 1000)
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    before = _sizes(folder)
    assert _post(page, "gradio_api/upload", files={"files": bytes(5000)}).status_code == 413
    assert _sizes(folder) == before


def test_it_listens_to_this_computer_alone_and_stays_here(page):
    assert page.local_url.startswith("http://127.0.0.1:") and not page.share
    answer = _get(page, "")
    assert answer.status_code == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert "tiny &lt;model&gt;" in answer.text or "tiny \\u0026lt;model" in answer.text
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=.https?://", answer.text)
    assert _get(page, "", headers={"host": "elsewhere.example"}).status_code == 400


def test_what_it_was_given_is_deleted_in_time(page):
    frequency, age = page.delete_cache
    assert frequency <= 60 and age == app.AGE <= 600
    camera, = (block for block in page.blocks.values() if type(block).__name__ == "Image")
    assert camera.image_mode is None  # a converted snapshot would be a copy that is never deleted


def test_taken_port_is_said(page, predictor):
    with pytest.raises(InputError, match=f"port {page.server_port}.*--port"), app.served(
            predictor, "tiny", port=page.server_port):
        pass


@pytest.mark.parametrize(("options", "message"), [
    ({"host": "no.such.host.invalid"}, "--host no.such.host.invalid is no address of this computer"),
    ({"host": "192.0.2.1"}, "--host 192.0.2.1 is no address of this computer"),
    ({"port": 99_999}, "--port 99999: give a number from 1 to 65535"),
])
def test_addresses_that_cannot_be_listened_at_are_said(model, options, message):
    pytest.importorskip("gradio")
    with pytest.raises(InputError, match=message):
        app.run_app(model, **options)


def test_proxy_is_not_asked_for_this_computer(predictor, monkeypatch):
    pytest.importorskip("gradio")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "kept.example")
    with app.served(predictor, "tiny") as page:
        assert page.is_running
    assert os.environ["NO_PROXY"] == "kept.example"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_ended(model, picture, tmp_path, ending):
    gradio_client = pytest.importorskip("gradio_client")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "scratch").mkdir()
    code = ("from tests.faces.marked import Marked; from fmpn_timm.inference.app import run_app;"
            f"run_app({model!r}, port={port}, detector=Marked())")
    env = {**os.environ, "TMPDIR": str(tmp_path / "scratch"), "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen([sys.executable, "-c", code], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert f"http://127.0.0.1:{port}" in running.stdout.readline()
        client = gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False, download_files=False)
        client.predict(_file(picture), None, api_name="/look")
        assert list((tmp_path / "scratch").rglob("two.png"))
    finally:
        running.send_signal(ending)
        running.wait(60)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not list((tmp_path / "home").rglob("two.png"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(page, picture, tmp_path, width):
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    outside, wrong = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        tab = browser.new_page(viewport={"width": width, "height": 860})
        tab.on("request", lambda request: request.url.startswith((page.local_url, "data:", "blob:"))
               or outside.append(request.url))
        tab.on("pageerror", lambda error: wrong.append(error))
        tab.goto(page.local_url)
        tab.get_by_text("Give a picture").wait_for()
        tab.locator("input[type=file]").first.set_input_files(picture)
        tab.locator(".fmpn article").first.wait_for(timeout=60_000)
        assert tab.locator(".fmpn article").count() == 2
        assert tab.locator(".fmpn img").evaluate_all("all => all.every(img => img.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.get_by_label("Clear").first.click()
        tab.get_by_text("Give a picture").wait_for()
        (tmp_path / "text.jpg").write_text("no picture")
        tab.locator("input[type=file]").first.set_input_files(tmp_path / "text.jpg")
        tab.get_by_text("This file cannot be read").wait_for(timeout=60_000)
        browser.close()
    assert not outside and not wrong


def _frames(number: int, step: float):
    for i in range(number):
        yield Frame("video", time=i * step, picture=marked((5 + i, 20, 60)), number=i)


def _client(page):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(page.local_url, verbose=False, download_files=False, analytics_enabled=False)


def _file(path):
    from gradio_client import handle_file

    return handle_file(str(path))


def _described(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _get(page, where: str, **options):
    httpx = pytest.importorskip("httpx")
    return httpx.get(page.local_url + where, timeout=30, **options)


def _post(page, where: str, **options):
    httpx = pytest.importorskip("httpx")
    return httpx.post(page.local_url + where, timeout=30, **options)


def _sizes(folder: Path) -> list[int]:
    return sorted(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_people_of_a_video_may_be_uncertain():
    person = look._Person(0, 0.0, 1.0, 2, {"neutral": 1.2, "fear": 0.8})
    assert [person.row(abstain)["label"] for abstain in (None, 0.5, 0.7)] == ["neutral", "neutral", "uncertain"]


def test_those_seen_longest_are_shown():
    people = [look._Person(track, 0.0, 1.0, 300 if track == 13 else 1, {"neutral": 1.0, "fear": 0.0}).row(None)
              for track in range(14)]
    page = video_page("14 people.", people, ("neutral", "fear"), [])
    assert page.count("<article") == 12 and page.index("person #13") < page.index("person #0")
    assert "2 seen for a shorter time: see the numbers below" in page
