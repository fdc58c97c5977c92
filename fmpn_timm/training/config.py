"""The configuration of a training run: one YAML file, every field an option of the command line."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveInt,
    restricted_number_type,
)

from fmpn_timm.data.readers import has_split, learning_split
from fmpn_timm.errors import InputError
from fmpn_timm.tasks.losses import LossName

__all__ = ["CONFIGS", "INDIFFERENT", "ORIGIN", "TrainConfig", "config_names", "parse_config", "refuse_overridden"]

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

#: Options that name weights which a model begins with or learns from; their terms hold for it too.
ORIGIN = ("init", "teacher", "pretrained_backbone")
#: Options that decide nothing about what a run learns: it can be resumed with others.
INDIFFERENT = ("name", "output", "resume", "checkpoint_every", "timeout", "workers", "progress", "cache", "root",
               "max_broken", "compile")

Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
BelowOne = restricted_number_type("BelowOne", float, [(">=", 0), ("<", 1)])
UpToOne = restricted_number_type("UpToOne", float, [(">", 0), ("<=", 1)])


@dataclass
class TrainConfig:
    """A training run.

    A number out of the range that its type says raises ``InputError``.

    Args:
        name: Name of the run; it is written to ``<output>/<name>``.
        output: Folder of all runs.
        seed: Seed of weights, data order and augmentation.
        resume: ``auto`` goes on from the run's last checkpoint, if it has one.
        checkpoint_every: Updates between two checkpoints within an epoch; 0 for none but at the end of each epoch (and
            where Ctrl-C or SIGTERM stops the run).
        timeout: Seconds that a process waits for the others of the run before it gives them up.
        arm: ``fmpn``, ``no_prior`` (FMPN without L_M) or ``cnn`` (the backbone alone): the arms of the paper's Table I;
            or another system: ``derl`` and ``fn2en``, which have no backbone, and ``msca``.
        per_arm: Options that differ for an arm, by its name, such as ``derl: {size: 64}``: they stand above all others.
        model_kwargs: Further arguments of the model, such as DeRL's ``unet: true`` or FN2EN's ``pools: 3``.
        backbone: Name of any timm model.
        backbone_kwargs: Further arguments of the backbone.
        pretrained_backbone: Start the backbone from its ImageNet weights.
        init: Start from a model's weights: a timm name with weights, ``hf-hub:owner/name`` or ``local-dir:folder``.
            Those of a plain classifier go to FMPN's or MSCA's backbone, as the paper's starts from ImageNet's. Of two,
            ``FMPN,BACKBONE``, the first gives mask generator and fusion net, the second, of any architecture, the
            backbone behind them. A DeRL model, such as one that was trained on other data, needs no stage 1
            (``mask_epochs: 0``).
        teacher: A trained network to learn from: a timm name with weights, ``hf-hub:owner/name`` or
            ``local-dir:folder``. FN2EN's convolutions learn its feature maps in stage 1, of a network that was trained
            on faces, as the paper's. Other classifiers take its classes into their targets (distillation); there
            several may be named, with commas between, and their mean counts.
        teacher_weight: Share of the target that is the teachers', in [0, 1]; the rest is the labels.
        teacher_map: Index of the teacher's feature map that FN2EN's stage 1 matches; negative ones count from the end.
        generator: FMPN's mask generator: ``paper``, or one of ours that cost next to nothing: ``lite``, ``basis``.
        generator_width: Channels of the mask generator at its full resolution; its own default (paper: 64) if none.
        generator_blocks: Residual blocks of the mask generator; its own default (paper: 4) if none.
        fusion_init: How FMPN's fusion net starts: ``paper``, or ``face`` for training from scratch.
        dataset: Name of the data set, one of ``fmpn_timm.data.readers.READERS``.
        root: Folder of the data set.
        data_options: Further options of its reader, such as ``rule: majority``.
        also: Faces of other data sets to learn from as well, never to select or report on: a list of readers' options
            with ``dataset``, and ``root`` and ``split`` where needed, such as ``[{dataset: prepared, root: OUT}]``.
            They must be cut alike.
        protocol: Protocol that cuts the data set into folds, see ``fmpn data folds``; its first if none is named.
        fold: Fold of the protocol to report on; its other subjects are trained and selected on. None to use splits.
        train_split: Split to train on, ``all`` for what has no splits.
        valid_split: Split to select the best epoch on; ``null`` to hold out ``valid_fraction`` of the training
            subjects.
        valid_fraction: Share of the training subjects to hold out for selection where there is no ``valid_split``.
        train_fraction: Share of the other training subjects to learn from; the rest are left out, of the masks too.
        test_split: Split that is looked at once, at the end; ``null`` to report the selection split.
        soft_labels: Train on the raters' votes where the data set has them.
        max_broken: Largest share of the training faces whose pictures may be broken: another face of the class stands
            in for each, and ``skipped.json`` lists them. In validation and test none may be.
        cache: Keep decoded pictures in memory.
        workers: Processes that load data, beside the training process; 0 loads in the training process.
        priors: Prior masks: ``build`` from the training subjects' pairs, or a mask set's name or file.
        prior_options: How masks are built: ``light``, ``smooth`` and ``keep_all`` as ``fmpn priors build`` takes them;
            ``{light: none, smooth: 0, keep_all: true}`` is the paper's equation (1) alone.
        mask_box: Where the masks lie in the pictures, left, top, right, bottom as shares; the whole picture if none.
        any_recipe: Take faces that were aligned in another way than the masks or the initial weights ask for.
        size: Height and width of the input in pixels.
        load_size: Height and width that ``size`` is cropped from.
        crop: ``five`` (corners and centre) or ``random``.
        rotate: Random rotation up to this many degrees.
        scale: Random zoom up to this share.
        shift: Random shift up to this share of the picture.
        jitter: Random brightness and contrast up to this share.
        erase: Probability of erasing a rectangle of the face.
        blur: Random Gaussian blur of the face, sigma up to this share of its side.
        mixup: Alpha of mixup, which trains the classes on faces mixed with one another; 0 for none.
        cutmix: Alpha of CutMix, which sets a rectangle of another face into each; 0 for none. With both, a coin is
            tossed for each batch.
        augment: Where faces are cropped, turned and lit: in the ``loader``, one by one, or on the ``device`` that
            trains, a batch at a time.
        mask_epochs: Epochs of stage 1: FMPN's mask generator alone, DeRL's generator of neutral faces, or FN2EN's
            convolutions against the teacher's.
        mask_lr: Learning rate of stage 1.
        mask_batch_size: Batch of stage 1, over all processes.
        epochs: Epochs of stage 2: everything, or all of DeRL but its generator. A run of 0 has no stage 1 either: it
            reports on the weights of ``init`` as they are, such as an average.
        lr: Learning rate of stage 2.
        generator_lr: Learning rate of the mask generator in stage 2 of ``fmpn``, whether stage 1 has taught it or not.
            That of ``no_prior``, which nothing has taught, learns at ``lr``.
        batch_size: Batch of stage 2, over all processes and accumulated steps.
        mask_weight: lambda_1, the weight of L_M in stage 2.
        class_weight: lambda_2, the weight of L_C in stage 2.
        loss: L_C: ``cross_entropy``, ``center`` (and center loss), ``cosface``, or ``center_cosine``; the last two make
            FMPN classify by angles, as MSCA always does.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        beta1: First beta of the optimiser; the momentum of ``sgd``.
        weight_decay: Weight decay; biases and norms are exempt.
        layer_decay: Factor on the learning rate from each layer of the backbone to the one before; 1 for none.
        schedule: ``linear`` (constant, then linear to 0 from the middle, the paper's) or ``cosine``.
        warmup_epochs: Epochs of linear warm-up of each stage, at most a quarter of the stage.
        clip: Largest norm of the gradient; 0 for no clipping.
        accumulate: Steps whose gradients are accumulated.
        ema: Decay of the exponential moving average of the weights; 0 for none.
        label_smoothing: Share of the target that is spread over all classes.
        flip_test: Average the logits of each face and its mirror image in evaluation.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        sync_bn: Let batch norm see the whole batch of a step rather than each process its part; on GPUs.
        channels_last: Use the channels-last memory format.
        grad_checkpointing: Compute the mask generator, the fusion net, and the backbone where it can, anew for the
            backward pass: less memory, more time.
        compile: Compile the training step.
        progress: Show progress bars.
    """

    name: str = "drawn"
    output: str = "runs"
    seed: Seed = 0
    resume: Literal["auto"] | None = None
    checkpoint_every: NonNegativeInt = 0
    timeout: PositiveInt = 600

    arm: Literal["fmpn", "no_prior", "cnn", "derl", "fn2en", "msca"] = "fmpn"
    per_arm: dict[str, dict[str, Any]] = field(default_factory=dict)
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    backbone: str = "resnet18"
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    pretrained_backbone: bool = False
    init: str | None = None
    generator: Literal["paper", "lite", "basis"] = "paper"
    generator_width: PositiveInt | None = None
    generator_blocks: PositiveInt | None = None
    fusion_init: Literal["paper", "face"] = "paper"
    teacher: str | None = None
    teacher_map: int = -1
    teacher_weight: ClosedUnitInterval = 0.5

    dataset: str = "drawn"
    root: str | None = None
    data_options: dict[str, Any] = field(default_factory=dict)
    also: list[dict[str, Any]] = field(default_factory=list)
    protocol: str | None = None
    fold: int | None = None
    train_split: str = "train"
    valid_split: str | None = None
    valid_fraction: OpenUnitInterval = 0.1
    train_fraction: UpToOne = 1.0
    test_split: str | None = None
    soft_labels: bool = False
    max_broken: ClosedUnitInterval = 0.01
    cache: bool = False
    workers: NonNegativeInt = 0

    priors: str = "build"
    prior_options: dict[str, Any] = field(default_factory=dict)
    mask_box: tuple[float, float, float, float] | None = None
    any_recipe: bool = False
    size: PositiveInt = 299
    load_size: PositiveInt = 320
    crop: Literal["five", "random"] = "five"
    rotate: NonNegativeFloat = 0.0
    scale: BelowOne = 0.0
    shift: ClosedUnitInterval = 0.0
    jitter: NonNegativeFloat = 0.0
    erase: ClosedUnitInterval = 0.0
    blur: ClosedUnitInterval = 0.0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    augment: Literal["loader", "device"] = "loader"

    mask_epochs: NonNegativeInt = 300
    mask_lr: NonNegativeFloat = 1e-4
    mask_batch_size: PositiveInt = 32
    epochs: NonNegativeInt = 200
    lr: NonNegativeFloat = 1e-4
    generator_lr: NonNegativeFloat = 1e-5
    batch_size: PositiveInt = 16
    mask_weight: NonNegativeFloat = 0.1
    class_weight: NonNegativeFloat = 1.0
    loss: LossName = "cross_entropy"

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    beta1: BelowOne = 0.5
    weight_decay: NonNegativeFloat = 0.0
    layer_decay: UpToOne = 1.0
    schedule: Literal["linear", "cosine"] = "linear"
    warmup_epochs: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 0.0
    accumulate: PositiveInt = 1
    ema: BelowOne = 0.0
    label_smoothing: ClosedUnitInterval = 0.0
    flip_test: bool = False
    precision: Literal["no", "bf16", "fp16"] = "no"
    sync_bn: bool = False
    channels_last: bool = False
    grad_checkpointing: bool = False
    compile: bool = False
    progress: bool = True

    def __post_init__(self):
        for option in fields(self):
            if isinstance(option.type, type) and issubclass(option.type, (int, float)):
                try:
                    option.type(getattr(self, option.name))
                except (TypeError, ValueError) as error:
                    raise InputError(f"--{option.name}: {error}.") from None

    def decisive(self) -> dict[str, Any]:
        """The options that decide what a run learns, JSON-serialisable."""
        options = {k: v for k, v in asdict(self).items() if k not in INDIFFERENT}
        if not self.per_arm:
            del options["per_arm"]
        return json.loads(json.dumps(options))

    @classmethod
    def decided(cls, then: dict[str, Any]) -> dict[str, Any]:
        """What ``decisive`` said of a run: options that did not exist then stand at their defaults."""
        return {**cls().decisive(), **then}

    def of_arm(self, arm: str) -> "TrainConfig":
        """The configuration with the options of an arm in their places."""
        return replace(self, **{**self.per_arm.get(arm, {}), "arm": arm, "per_arm": {}})

    @property
    def augmentation(self) -> dict[str, Any]:
        """The options of ``train_transform`` and ``BatchAugment`` beside sizes and normalisation."""
        return {name: getattr(self, name) for name in ("crop", "rotate", "scale", "shift", "jitter", "erase", "blur")}

    @property
    def folder(self) -> Path:
        return Path(self.output) / self.name


class _Parser(ArgumentParser):
    """Says in which file, if any, the fault lies."""

    file: str | None = None

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(f"{self.file}: {message}" if self.file else message, ex)


def parse_config(args: Sequence[str] | None = None, prog: str = "train.py") -> TrainConfig:
    """Read a configuration from the command line.

    Args:
        args: Arguments; ``sys.argv`` if None. ``--config`` takes a YAML file or the name of one that comes with the
            package, ``drawn`` if it is not there; other options override it, wherever they stand. With another
            ``--dataset`` than the file's, its ``data_options`` are dropped, training takes all of what has no splits,
            and where no file was named, splits to select and report on that the data has not are dropped as well.
        prog: Name of the command in messages.
    """
    args = [_underscored(a) for a in (sys.argv[1:] if args is None else args)]
    parser = _Parser(prog=prog, allow_abbrev=False, usage=f"{prog} [--config FILE] [--OPTION VALUE ...]",
                     description="Train any arm: FMPN and its baselines, DeRL, FN2EN or MSCA.")
    parser.add_argument("--config", action="config",
                        help=f"YAML file, or one of {', '.join(config_names())}; drawn if none is named")
    parser.add_class_arguments(TrainConfig)
    typed = _typed(args)
    if "config" not in typed:
        args = ["--config", "drawn", *args]
    args = _config_first(args)
    for i, name in enumerate(args):
        if i and args[i - 1] == "--config" and not Path(name).is_file():
            if name not in config_names():
                parser.error(f"--config {name}: there is no such file, nor does one of that name come with the "
                             f"package: {', '.join(config_names())}.")
            args[i] = str(CONFIGS / f"{name}.yaml")
    files = [part for i, part in enumerate(args) if part == "--config" or i and args[i - 1] == "--config"]
    for last in range(1, len(files), 2):  # one more each time, so that what is wrong in one names it
        parser.file = files[last]
        in_files = parser.parse_args(files[:last + 1])
    parser.file = None
    values = parser.parse_args(args).as_dict()
    del values["config"]
    if values["dataset"] != in_files.dataset:
        if "data_options" not in typed:  # what files say of another data set's reader is not for this one
            options = values["data_options"]
            values["data_options"] = {key: options[key] for key in options if f"data_options.{key}" in typed}
        lacking = [name for name in ("train_split", "valid_split", "test_split")
                   if name not in typed and not has_split(values["dataset"], values["root"], values[name])]
        if "train_split" in lacking:
            values["train_split"] = learning_split(values["dataset"], values["root"])
        if "config" not in typed:
            values |= {name: None for name in lacking if name != "train_split"}
    for arm, own in values["per_arm"].items():  # so that a slip in them is told as one in the others
        parser.parse_object({**values, **own, "arm": arm})
    return TrainConfig(**json.loads(json.dumps(values)))  # plain numbers: torch opens no checkpoint with other types


def refuse_overridden(config: TrainConfig, args: Sequence[str] | None = None) -> None:
    """Refuse options of the command line that ``per_arm`` of a configuration file stands above.

    Args:
        config: What ``parse_config`` made of the arguments, for a single run.
        args: The arguments; ``sys.argv`` if None.

    Raises:
        InputError: Such an option was given another value than it has for the arm.
    """
    typed = _typed(_underscored(a) for a in (sys.argv[1:] if args is None else args))
    own = {} if "per_arm" in typed else config.per_arm.get(config.arm, {})
    lost = [f"--{name} ({json.dumps(value)})" for name, value in own.items()
            if name in typed and getattr(config, name) != value]
    if lost:
        raise InputError(f"The configuration has its own {', '.join(lost)} for --arm {config.arm}, above what is "
                         "given. To set it yourself, leave that out with --per_arm '{}'.")


def config_names() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _underscored(argument: str) -> str:
    """An option's name as the fields are called: ``--mask-epochs=2`` is ``--mask_epochs=2``."""
    name, equals, value = argument.partition("=")
    return name.replace("-", "_").replace("__", "--", 1) + equals + value if name.startswith("--") else argument


def _typed(args: Iterable[str]) -> set[str]:
    """Names of the options among arguments."""
    return {a[2:].split("=")[0] for a in args if a.startswith("--")}


def _config_first(args: list[str]) -> list[str]:
    """The arguments with ``--config=X`` as ``--config X``, and before all that is typed, which overrides it."""
    parts = [part for a in args for part in (a.split("=", 1) if a.startswith("--config=") else [a])]
    files = [i for i, part in enumerate(parts) if "--config" in (part, parts[i - 1] if i else None)]
    return [parts[i] for i in (*files, *(i for i in range(len(parts)) if i not in files))]
