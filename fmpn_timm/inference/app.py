"""The app: a page on this computer that says what the faces in a picture or video express (``fmpn app``)."""

import mimetypes
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fmpn_timm.errors import InputError

from .endings import PICTURES, VIDEOS
from .look import MAX_PICTURE, MAX_SECONDS, MAX_VIDEO, look_at
from .page import CSS, message
from .predictor import DEFAULT_MODEL, Predictor

if TYPE_CHECKING:
    import gradio

__all__ = ["AGE", "create_app", "private_folder", "run_app", "served"]

#: What was given, and what was drawn, is deleted after so many seconds.
AGE = 600
#: How many are answered at the same time, and how many may wait.
AT_ONCE, WAITING = 2, 16
LOCAL = ("127.0.0.1", "localhost", "::1")

TITLE = "Facial expressions"
LIMITS = ("Expressions are not emotions: this says what a face looks like, not what the person feels. Do not decide "
          "about people by it.")


def run_app(
        model: str = DEFAULT_MODEL,
        host: str = "127.0.0.1",
        port: int = 7860,
        **options: Any,
) -> None:
    """Serve the app until Ctrl-C, SIGTERM or the end of the terminal; then all that it was given is deleted.

    Args:
        model: As for ``Predictor``.
        host: Address to listen at. Any but this computer's own lets others in, without a password or encryption.
        port: Port to listen at.
        options: Further arguments of ``Predictor``.

    Raises:
        InputError: gradio is missing, the host is another computer, the port is none or taken, or what ``Predictor``
            raises.
    """
    _gradio()
    host = host.strip("[]")
    _check_address(host, port)
    predictor = Predictor(model, **options)
    predictor(np.zeros((64, 64, 3), np.uint8))  # so that what the detector has to fetch is there from now on
    if host not in LOCAL:
        print(f"warning: whoever reaches {host} can use this app without a password, and what they give it travels "
              "unencrypted.", file=sys.stderr)
    with _orderly_end(), served(predictor, model, host, port) as app, suppress(KeyboardInterrupt):
        print(f"{TITLE}: {app.local_url} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()


@contextmanager
def served(predictor: Predictor, name: str, host: str = "127.0.0.1", port: int | None = None) -> Iterator[Any]:
    """Serve the app while the context lasts; then all that it was given is deleted.

    Args:
        predictor: What looks at pictures and videos.
        name: What the model is called.
        host: Address to listen at.
        port: Port to listen at; if None a free one from 7860 on.

    Yields:
        The app, at ``local_url``.

    Raises:
        InputError: gradio is missing, or the port is taken.
    """
    around = urllib.request.getproxies().get("no", "")
    around = ",".join(filter(None, (around, *LOCAL, host)))  # gradio calls itself, which no proxy may catch
    with private_folder() as folder, _environment(NO_PROXY=around, no_proxy=around):
        # gradio makes a folder where the environment told it to as it was imported, and nobody deletes that
        _gradio()
        sys.modules["gradio.routes"].DEFAULT_TEMP_DIR = str(folder)
        app = create_app(predictor, name, folder)
        try:
            app.launch(server_name=f"[{host}]" if ":" in host else host, server_port=port, **_settings(host))
            yield app
        except OSError as error:
            if app.is_running:
                raise
            raise InputError(f"The app cannot listen at {host}, port {port}, which another program may hold: give "
                             "another --port.") from error
        finally:
            app.close(verbose=False)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that this user alone can read, where gradio keeps what it is given; at the end it is deleted."""
    folder = Path(tempfile.mkdtemp(prefix="fmpn-app-"))
    try:
        with _environment(GRADIO_TEMP_DIR=str(folder)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_app(predictor: Predictor, name: str, folder: Path) -> "gradio.Blocks":
    """The page, not yet served.

    Args:
        predictor: What looks at pictures and videos.
        name: What the model is called.
        folder: Where videos are drawn: the ``private_folder``, from which gradio deletes them.

    Raises:
        InputError: gradio is missing.
    """
    gradio = _gradio()
    empty = _empty(predictor.masks)
    progress = gradio.Progress()  # which gradio knows only as the default of an argument

    def look(path, neutral, progress=progress):
        if not path:
            return nothing()
        looked = look_at(predictor, path, neutral, folder,
                         lambda seconds: progress((round(seconds), None), desc="Looking", unit="seconds"))
        return (looked.page, gradio.Video(value=looked.video, visible=looked.video is not None), list(looked.numbers),
                gradio.Accordion(visible=bool(looked.numbers)))

    def look_again(file, camera, neutral, progress=progress):
        return look(file or camera, neutral, progress)

    def nothing():
        return empty, gradio.Video(value=None, visible=False), None, gradio.Accordion(visible=False)

    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, AGE)) as app:
        gradio.HTML(f'<header class="head"><h1>{TITLE}</h1><p>{LIMITS}</p></header>')
        with gradio.Row(equal_height=False):
            with gradio.Column(scale=2, min_width=300):
                with gradio.Tab("File"):
                    file = gradio.File(label="A picture or video", file_types=_kinds(), height=150)
                    gradio.HTML(f'<p class="limits">{_limits()}</p>')
                with gradio.Tab("Camera"):
                    # as it comes: a snapshot that is brought to RGB is a copy of which delete_cache knows nothing
                    camera = gradio.Image(label="A snapshot", sources=["webcam"], type="filepath", image_mode=None,
                                          height=300, buttons=[])
                with gradio.Accordion("Compare with a neutral face", open=False, visible=predictor.masks):
                    gradio.HTML('<p class="limits">With a picture of the same person\'s neutral face you see where the '
                                'face really moved, beside where the model says so. In a video it is looked for, if '
                                'you give none.</p>')
                    neutral = gradio.File(label="A neutral face", file_types=["image"], height=120)
            with gradio.Column(scale=3, min_width=300):
                video = gradio.Video(label="What was seen", interactive=False, visible=False, buttons=["download"])
                page = gradio.HTML(empty)
                with gradio.Accordion("Numbers", open=False, visible=False) as more:
                    numbers = gradio.JSON(show_label=False)
        gradio.HTML(f'<p class="limits">Model: {escape(name)}</p>')

        outputs = [page, video, numbers, more]
        hidden = {"api_visibility": "private"}
        file.upload(look, [file, neutral], outputs, api_name="look", show_progress_on=page)
        camera.input(look, [camera, neutral], outputs, show_progress_on=page, **hidden)
        # what was given last counts: the other place is emptied
        file.upload(lambda: None, None, camera, queue=False, **hidden)
        camera.input(lambda: None, None, file, queue=False, **hidden)
        gradio.on([file.clear, camera.clear], nothing, None, outputs, queue=False, **hidden)
        gradio.on([neutral.upload, neutral.clear], look_again, [file, camera, neutral], outputs, show_progress_on=page,
                  **hidden)
    return app.queue(default_concurrency_limit=AT_ONCE, max_size=WAITING)


def _check_address(host: str, port: int) -> None:
    if not 0 < port < 2**16:
        raise InputError(f"--port {port}: give a number from 1 to 65535.")
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.bind(address)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host {host} is no address of this computer: give one that is, or leave it out.") from error


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "0"
    try:
        import gradio
    except ImportError:
        raise InputError('The app needs gradio: pip install "fmpn-timm[app]".') from None
    return gradio


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)  # where case does not count, another name has taken it along
            if value is not None:
                os.environ[name] = value


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let the signals that would end the program at once end it in order, so that what it was given is deleted."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # only there may handlers be set
        for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
            before[number] = signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _settings(host: str) -> dict[str, Any]:
    """How the page is served: from this computer alone, with no word to or from elsewhere."""
    gradio = _gradio()
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    middleware = [Middleware(_Confined)]
    if host in LOCAL:  # no other page may reach this one by a name of its own that leads here
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"]))
    readable = {"body_text_color_subdued": "*neutral_600", "body_text_color_subdued_dark": "*neutral_300"}
    font = [gradio.themes.Font(name) for name in ("system-ui", "Segoe UI", "Roboto", "sans-serif")]
    mono = [gradio.themes.Font(name) for name in ("ui-monospace", "Consolas", "monospace")]
    return {
        "app_kwargs": {"middleware": middleware},
        "css": CSS + _CSS,
        "footer_links": [],
        "max_file_size": MAX_VIDEO,
        "prevent_thread_lock": True,
        "quiet": True,
        "run_history": False,
        "share": False,
        "ssr_mode": False,
        "theme": gradio.themes.Base(primary_hue="blue", neutral_hue="slate", font=font, font_mono=mono).set(**readable),
    }


class _Confined:
    """Forbids the browser to fetch anything from elsewhere for this page."""

    HEADERS = [(b"content-security-policy",
                b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"),
               (b"referrer-policy", b"no-referrer")]

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def confined(said: Any) -> None:
            if said["type"] == "http.response.start":
                said = {**said, "headers": [*said.get("headers", ()), *self.HEADERS]}
            await send(said)

        await self.app(scope, receive, confined)


_CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.head h1 { font-size: 1.6rem; font-weight: 650; margin: 8px 0 4px; }
.head p, .limits { color: var(--body-text-color-subdued); margin: 0; }
.head p { max-width: 62ch; line-height: 1.45; }
.limits { font-size: .85rem; line-height: 1.4; }
"""


def _empty(masks: bool) -> str:
    masks = " and a map of where it moved" if masks else ""
    return message("Give a picture or video",
                   f"Each face gets its probabilities{masks}. What you give stays on the computer that runs this page, "
                   f"and is deleted there after {AGE // 60} minutes, or when the app ends.")


def _kinds() -> list[str]:
    """What the browser offers to give: pictures and videos, and the names of those it does not know for such."""
    unknown = [suffix for suffix in (*PICTURES, *VIDEOS)
               if not (mimetypes.guess_type(f"a{suffix}")[0] or "").startswith(("image/", "video/"))]
    return ["image", "video", *unknown]


def _limits() -> str:
    return (f"Pictures up to {MAX_PICTURE // 2**20} MB, videos up to {MAX_VIDEO // 2**20} MB; of these "
            f"{MAX_SECONDS // 60} minutes are looked at.")
