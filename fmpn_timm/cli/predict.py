"""``fmpn predict`` and ``fmpn app``."""

import argparse
import sys

from .common import FLIP, MODEL, Commands

__all__ = ["add_app", "add_predict"]


def add_predict(commands: Commands) -> None:
    predict = commands.add_parser(
        "predict", help="say what the faces in pictures and videos express",
        description="Find the faces in pictures and videos and say what they express. Every input gets a row, even "
                    "without a face. The exit code is 1 if any input cannot be read. The frames of a video have "
                    "rows with their time, and its faces are followed: a track keeps its number. Where rows go to "
                    "no file, a table is printed. accelerate launch and torchrun share the inputs among processes.")
    predict.add_argument("source", nargs="+", metavar="SRC",
                         help="picture, video, folder (with all folders in it), glob, or a camera's number, which "
                              "Ctrl-C ends")
    predict.add_argument("--model", help=f"{MODEL} (default: the one that comes with the package)")
    predict.add_argument("--csv", metavar="FILE", help="write rows as CSV")
    predict.add_argument("--json", metavar="FILE", nargs="?", const="-",
                         help="print one JSON array on stdout (then put it behind the sources); with FILE.jsonl "
                              "write JSON lines, with another an array")
    predict.add_argument("--parquet", metavar="FILE", help="write rows as Parquet")
    predict.add_argument("--draw", metavar="DIR", help="write the pictures and videos with boxes, labels and motion "
                                                       "masks, of videos also a timeline, and with --neutral a sheet")
    predict.add_argument("--masks", metavar="DIR", help="write the motion mask of each face, as large as the aligned "
                                                        "face, as DIR/<picture>.<face>.png, of a video "
                                                        "DIR/<video>/<frame>.<face>.png")
    predict.add_argument("--neutral", metavar="PHOTO", help="a picture of the neutral face of the person who is the "
                                                            "largest face, or find: find each track's in the video; "
                                                            "says how far real and predicted motion agree")
    predict.add_argument("--every", default="1", metavar="N", help="look at each N-th frame of a video, or with an s, "
                                                                   "such as 0.5s, at one in so many seconds "
                                                                   "(default: 1)")
    predict.add_argument("--gap", type=float, default=1.0, metavar="S",
                         help="seconds a face may be out of sight and keep its track (default: 1)")
    predict.add_argument("--smooth", type=float, default=0.3, metavar="S",
                         help="time constant of the smoothing of a track's probabilities (default: 0.3 s; 0: none)")
    predict.add_argument("--faces", choices=("all", "largest"), default="all", help="which faces (default: all)")
    predict.add_argument("--abstain", type=float, metavar="P",
                         help="label a face uncertain if its top probability is below P")
    predict.add_argument("--batch-size", type=int, default=32, help="faces the model sees at once (default: 32)")
    predict.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator if there is one)")
    predict.add_argument("--flip", **FLIP)
    predict.add_argument("--resume", action="store_true",
                         help="go on with a CSV or JSON lines file that an interrupted run has left, several processes "
                              "with any; give the same model and options")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from fmpn_timm.inference import DEFAULT_MODEL
    from fmpn_timm.inference.run import Outputs, Watching, predict_sources
    from fmpn_timm.launched import place

    several = place()[1] > 1
    outputs = Outputs(options.csv, options.json, options.parquet, options.draw, options.masks, options.resume)
    try:
        counts = predict_sources(
            options.source,
            outputs,
            options.model or DEFAULT_MODEL,
            watching=Watching(options.every, options.gap, options.smooth),
            neutral=options.neutral,
            faces=options.faces,
            abstain=options.abstain,
            batch_size=options.batch_size,
            device=options.device,
            flip=options.flip,
        )
    except KeyboardInterrupt:
        once = ["--parquet"] * bool(options.parquet) + ["--json"] * bool(options.json and not outputs.lines)
        # several go on with the files of their shares, whatever becomes of these
        without = f", without {' and '.join(once)}, " if once and not several else " "
        mend = f"The same line{without}with --resume goes on." if several or options.csv or outputs.lines else ""
        raise KeyboardInterrupt(mend) from None
    if counts is None:  # the first process speaks for all
        return
    print(counts, file=sys.stderr)
    if outputs.files or outputs.json:  # a table has said so
        for failure in counts.failures:
            print(f"  {failure}", file=sys.stderr)
    for what, folder in (("drawings", outputs.draw), ("masks", outputs.masks)):
        if folder:
            print(f"{what} are in {folder}", file=sys.stderr)
    if counts.unread:
        sys.exit(1)


def add_app(commands: Commands) -> None:
    app = commands.add_parser(
        "app", help="open a page that says what the faces in a picture or video express",
        description="Serve a page for the browser of this computer: give a picture, a video or the camera, and see "
                    "each face's probabilities and where it moved. Only the first start needs a network, for the face "
                    "detector; what the page was given is deleted after ten minutes and when it ends. Ctrl-C ends it.")
    app.add_argument("--model", help=f"{MODEL} (default: the one that comes with the package)")
    app.add_argument("--port", type=int, default=7860, help="(default: 7860)")
    app.add_argument("--host", default="127.0.0.1", help="address to listen at; any but 127.0.0.1 lets others in, "
                                                         "without a password (default: 127.0.0.1)")
    app.add_argument("--abstain", type=float, metavar="P",
                     help="label a face uncertain if its top probability is below P")
    app.add_argument("--device", help="such as cpu or cuda:1 (default: an accelerator if there is one)")
    app.set_defaults(run=_app)


def _app(options: argparse.Namespace) -> None:
    from fmpn_timm.inference import DEFAULT_MODEL
    from fmpn_timm.inference.app import run_app

    run_app(options.model or DEFAULT_MODEL, options.host, options.port, abstain=options.abstain, device=options.device)
