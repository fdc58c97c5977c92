"""The systems that train: for each arm, how its model is made and what its stages are."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import timm
import torch
from accelerate import PartialState
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm.task import TrainingTask
from torch import nn
from torchvision.transforms.v2.functional import center_crop

from fmpn_timm.errors import InputError
from fmpn_timm.faces import Recipe, check_recipe
from fmpn_timm.hub import class_names, load_model, recipe_of, weights_of
from fmpn_timm.models import FMPN, FN2EN, MSCA, BasisMaskGenerator, CosineLinear, DeRL, stride_for
from fmpn_timm.tasks import (
    ClassificationTask,
    CrossEntropy,
    DeexpressionTask,
    Distillation,
    FeatureMatchTask,
    FMPNTask,
    MaskTask,
    ResidueTask,
    Teacher,
    create_loss,
    mask_error,
    needs_cosines,
    neutral_error,
)

from .config import TrainConfig

__all__ = ["Stage", "create_model", "create_stages"]

#: Arms whose network stands on no timm backbone.
WITHOUT_BACKBONE = ("derl", "fn2en")


@dataclass
class Stage:
    """One stage of a system's training.

    Attributes:
        name: Its name in the summary.
        task: The objective.
        epochs: Number of epochs.
        lr: Learning rate, of groups that have none of their own.
        batch_size: Samples of one update, over all processes and accumulated steps.
        groups: Parameter groups of the optimiser; parameters that are in none stay as they are.
        masks: Whether the training batches carry prior masks.
        neutral: Whether they carry neutral faces; samples whose subject has none are left out then.
        valid_error: In a stage that does not classify yet, the error (B,) of the evaluated model on a validation batch,
            which then carries what a training batch does; None where the class decides.
    """

    name: str
    task: TrainingTask
    epochs: int
    lr: float
    batch_size: int
    groups: list[dict[str, Any]]
    masks: bool = False
    neutral: bool = False
    valid_error: Callable[[nn.Module, dict[str, torch.Tensor]], torch.Tensor] | None = None

    @property
    def classifies(self) -> bool:
        return self.valid_error is None

    @property
    def batch_option(self) -> str:
        """The option that sets its batch."""
        return "batch_size" if self.classifies else "mask_batch_size"


def create_stages(
        config: TrainConfig,
        model: nn.Module,
        classes: tuple[str, ...],
        recipe: Recipe | None,
) -> list[Stage]:
    """The stages of the configured arm, in order; the last one classifies.

    Args:
        config: The run's configuration.
        model: What ``create_model`` made of it.
        classes: Class names in the order of the logits.
        recipe: How the faces of the run were cut.

    Raises:
        InputError: A loss or teacher does not fit.
    """
    stages = STAGES[config.arm](config, model)
    if config.teacher is not None and config.arm != "fn2en":  # whose teacher gives features, in a stage of its own
        stages[-1].task.distillation = _distillation(config, model, classes, recipe)
    return stages


def create_model(
        config: TrainConfig,
        classes: tuple[str, ...],
        recipe: Recipe | None,
        masks: torch.Tensor | None = None,
) -> nn.Module:
    """The model of the configured arm, from ``--init`` where that is given.

    Args:
        config: The run's configuration.
        classes: Class names in the order of the logits.
        recipe: How the faces of the run were cut.
        masks: The run's prior masks (K, L, L), which the generator ``basis`` mixes; None if it has none.

    Raises:
        InputError: The backbone is unknown or does not take the options, or the initial weights do not fit.
    """
    if {config.model_kwargs.get("in_chans", 3), config.backbone_kwargs.get("in_chans", 3)} != {3}:
        raise InputError("Faces are loaded as RGB, grey ones too: leave in_chans out of --model_kwargs and "
                         "--backbone_kwargs.")
    initial = front = None
    if config.init is not None:
        *fronts, last = config.init.split(",")
        for source in (*fronts, last):
            check_recipe(recipe, recipe_of(source), f"--init {source}", config.any_recipe)
        if fronts:
            front = _initial_front(config, fronts)
            initial = _initial_model(dataclasses.replace(config, init=last, arm="cnn"), classes)
        else:
            initial = _initial_model(config, classes)
            if config.arm == "cnn" or isinstance(initial, MODELS[config.arm]):
                return initial
    name, kwargs = _name_and_options(config)
    if front is not None:
        kwargs |= front.generator_args
    if initial is not None:  # its weights are for faces of its own mean and deviation
        mean, std = (tuple(initial.pretrained_cfg[key]) for key in ("mean", "std"))
        own = dict(pretrained_cfg_overlay=dict(mean=mean, std=std))
        kwargs |= own if config.arm == "msca" else dict(backbone_mean=mean, backbone_std=std)
    sized = name if config.arm in WITHOUT_BACKBONE else config.backbone
    if timm.is_model(sized) and timm.get_pretrained_cfg_value(sized, "fixed_input_size"):
        kwargs["img_size"] = config.size
    try:
        with weights_of(config.backbone, "start without them (--pretrained_backbone false)"):
            model = timm.create_model(name, num_classes=len(classes), **kwargs)
        if initial is not None:  # a classifier of its own becomes the backbone
            if isinstance(model, MSCA):
                initial.prune_intermediate_layers(model.indices, prune_norm=True)  # as MSCA has it
            _load_backbone(model.backbone, initial, needs_cosines(config.loss) and not isinstance(model, MSCA))
        if front is not None:
            model.mask_generator.load_state_dict(front.mask_generator.state_dict())
            model.fusion.load_state_dict(front.fusion.state_dict())
        elif isinstance(getattr(model, "mask_generator", None), BasisMaskGenerator):
            model.mask_generator.set_masks(_masks_to_mix(config, masks))
        return model
    except InputError:
        raise
    except RuntimeError as error:
        if initial is None:
            raise
        raise InputError(
            f"--init {config.init}: its weights are not of --backbone {config.backbone} with these --backbone_kwargs. "
            "Give the backbone it was trained with."
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {error} Check --size, --model_kwargs, --backbone and --backbone_kwargs.") from error


def _initial_front(config: TrainConfig, sources: Sequence[str]) -> FMPN:
    """The FMPN of ``--init FMPN,BACKBONE``, whose mask generator and fusion net stand before any backbone."""
    front = load_model(sources[0]) if len(sources) == 1 and config.arm in ("fmpn", "no_prior") else None
    if not isinstance(front, FMPN):
        raise InputError(f"--init {config.init}: before a comma stands an FMPN, to be trained as --arm fmpn or "
                         "no_prior, and after it a backbone.")
    _say_size(sources[0], config.size, front)
    _check_generator(config, front)
    return front


def _initial_model(config: TrainConfig, classes: tuple[str, ...]) -> nn.Module:
    """The model of ``--init``: one of the configured arm, or a plain classifier for its backbone."""
    options = {**config.backbone_kwargs, **config.model_kwargs}
    rates = {name: options[name] for name in ("drop_rate", "drop_path_rate") if name in options}
    initial = load_model(config.init, **rates)  # no saved model keeps them
    _say_size(config.init, config.size, initial)
    known = initial.pretrained_cfg.get("label_names") or (list(classes) if initial.num_classes == len(classes) else [])
    if known != list(classes):
        new = _change_classes(initial, known, classes)
        if new and config.epochs == 0:
            raise InputError(f"--epochs 0 reports on weights as they are, and --init {config.init} does not know "
                             f"{', '.join(new)}: train for some, or take faces of the classes it knows.")
        if new and known and PartialState().is_main_process:
            print(f"--init {config.init} does not know {', '.join(new)}: what tells them starts anew.", file=sys.stderr)
    if config.arm == "cnn" and isinstance(initial, FMPN):
        initial = _plain_backbone(initial)
    fits = config.arm != "cnn" and isinstance(initial, MODELS[config.arm])
    plain = config.arm not in WITHOUT_BACKBONE and not isinstance(initial, (FMPN, MSCA, DeRL, FN2EN))
    if not (fits or plain):
        wanted = "plain timm model" if config.arm == "cnn" else MODELS[config.arm].__name__
        raise InputError(f"--init {config.init}: a {type(initial).__name__} cannot be trained as --arm {config.arm}. "
                         f"Give weights of a {wanted}, or another --arm.")
    if config.arm in WITHOUT_BACKBONE:
        return initial
    if isinstance(initial, FMPN):
        _check_generator(config, initial)
    backbone = getattr(initial, "backbone", initial).pretrained_cfg
    if backbone["architecture"] != config.backbone.partition(".")[0]:
        raise InputError(f"--init {config.init}: its weights are not of --backbone {config.backbone}, but of "
                         f"{backbone['architecture']}: give that.")
    if backbone.get("fixed_input_size") and hasattr(initial, "set_input_size"):
        initial.set_input_size(img_size=config.size)
    return initial


def _plain_backbone(fmpn: FMPN) -> nn.Module:
    """The backbone of an FMPN as a timm model of its own."""
    mean, std = fmpn.backbone_norm
    backbone = fmpn.backbone
    backbone.pretrained_cfg = dict(backbone.pretrained_cfg, mean=mean, std=std)  # as it saw the fused face
    cosines = backbone.get_classifier()
    if isinstance(cosines, CosineLinear):  # which is no part of a plain timm model
        backbone.reset_classifier(cosines.out_features)
        with torch.no_grad():  # the same class is the most likely, whatever the embedding's length
            backbone.get_classifier().weight.copy_(nn.functional.normalize(cosines.weight))
            backbone.get_classifier().bias.zero_()
    return backbone


def _check_generator(config: TrainConfig, fmpn: FMPN) -> None:
    """Refuse a mask generator other than that of the initial weights."""
    own = {name: value for name, value in fmpn.generator_args.items() if name != "generator_kwargs"}
    others = [name for name, value in own.items() if getattr(config, name) not in (None, value)]
    if others:
        mend = " ".join(f"--{name} {own[name]}" for name in others)
        raise InputError(f"--init {config.init} has a mask generator of its own: give {mend}.")


def _change_classes(model: nn.Module, known: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Give a model other classes; a linear classifier keeps what it knows of those that stay.

    Returns:
        The classes that start anew.
    """
    old = model.get_classifier()
    model.reset_classifier(len(classes))
    new = model.get_classifier()
    if not isinstance(old, nn.Linear) or not isinstance(new, nn.Linear):
        return list(classes)
    stay = [name for name in classes if name in known]
    to, of = ([names.index(name) for name in stay] for names in (list(classes), list(known)))
    with torch.no_grad():
        new.weight[to] = old.weight[of]
        if old.bias is not None and new.bias is not None:
            new.bias[to] = old.bias[of]
    return [name for name in classes if name not in known]


def _say_size(name: str, size: int, initial: nn.Module) -> None:
    """Say that a model of expressions is trained on at another size than its own."""
    cfg = initial.pretrained_cfg
    if cfg.get("label_names") and cfg["input_size"][-1] != size and PartialState().is_main_process:
        print(f"--init {name} was trained at {cfg['input_size'][-1]} pixels, and this run is at --size {size}.",
              file=sys.stderr)


def _load_backbone(backbone: nn.Module, initial: nn.Module, by_angles: bool) -> None:
    """Load a plain classifier's weights; a backbone that classifies by angles keeps its own where it classifies."""
    if not by_angles:
        backbone.load_state_dict(initial.state_dict())
        return
    classifier = backbone.pretrained_cfg["classifier"]
    prefixes = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    initial.reset_classifier(0)
    own = {name: value for name, value in backbone.state_dict().items() if name.startswith(prefixes)}
    backbone.load_state_dict({**own, **initial.state_dict()})


def _masks_to_mix(config: TrainConfig, masks: torch.Tensor | None) -> torch.Tensor:
    """The prior masks (K, H, W) of the middle crop of a face."""
    if masks is None:
        raise InputError(f"--generator basis mixes prior masks, and --arm {config.arm} has none: take --arm fmpn, or "
                         "--generator lite.")
    return center_crop(masks, [config.size, config.size])


def _name_and_options(config: TrainConfig) -> tuple[str, dict[str, Any]]:
    """The timm name of the configured model and what ``timm.create_model`` is told."""
    if config.arm in WITHOUT_BACKBONE:
        return config.arm, dict(config.model_kwargs)
    if config.arm == "cnn":
        if not timm.is_model(config.backbone):
            raise InputError(f"Unknown backbone {config.backbone!r}: give the name of a timm model.")
        return config.backbone, dict(config.backbone_kwargs, pretrained=config.pretrained_backbone)
    kwargs = dict(
        backbone_kwargs=config.backbone_kwargs,
        pretrained_backbone=config.pretrained_backbone and config.init is None,  # whose weights replace them
    )
    if config.arm != "msca":
        kwargs |= dict(generator_width=config.generator_width, generator_blocks=config.generator_blocks,
                       fusion_init=config.fusion_init)
        if needs_cosines(config.loss):
            kwargs["cosine_head"] = True
        if config.generator == "basis":
            kwargs["generator"] = "basis"
    kwargs |= config.model_kwargs
    if config.arm != "msca" and config.generator != "paper":
        kwargs["generator_kwargs"] = {"stride": stride_for(config.size), **kwargs.get("generator_kwargs", {})}
    family = "msca" if config.arm == "msca" else "fmpn_lite" if config.generator == "lite" else "fmpn"
    name = f"{family}_{config.backbone}"
    tagged = "." in config.backbone  # timm takes a tag for the whole name's, which is no tag of that model
    return (name, kwargs) if timm.is_model(name) and not tagged else (family, dict(kwargs, backbone=config.backbone))


def _classifier_stages(config: TrainConfig, model: nn.Module) -> list[Stage]:
    groups = _backbone_groups(config, model, config.lr)
    task = ClassificationTask(model, loss=_loss(config, model))
    return [Stage("joint", task, config.epochs, config.lr, config.batch_size, groups)]


def _fmpn_stages(config: TrainConfig, model: FMPN) -> list[Stage]:
    with_prior = config.arm == "fmpn"
    stages = []
    if with_prior and config.mask_epochs:
        groups = _groups(config, model.mask_generator, config.mask_lr)
        stages.append(Stage("mask", MaskTask(model), config.mask_epochs, config.mask_lr, config.mask_batch_size, groups,
                            masks=True, valid_error=mask_error))
    groups = [
        *_groups(config, model.mask_generator, config.generator_lr if with_prior else config.lr),
        *_groups(config, model.fusion, config.lr),
        *_backbone_groups(config, model.backbone, config.lr),
    ]
    mask_weight = config.mask_weight if with_prior else 0.0
    task = FMPNTask(model, mask_weight, config.class_weight, loss=_loss(config, model))
    stages.append(Stage("joint", task, config.epochs, config.lr, config.batch_size, groups, masks=mask_weight > 0))
    return stages


def _derl_stages(config: TrainConfig, model: DeRL) -> list[Stage]:
    if config.teacher is not None:
        raise InputError(f"--teacher {config.teacher}: DeRL learns the labels alone; leave the option out.")
    if config.loss != "cross_entropy":
        raise InputError(f"--loss {config.loss}: DeRL's five losses are cross entropy; leave the option out.")
    stages = []
    if config.mask_epochs:
        task = DeexpressionTask(model, width=model.generator.channels[0])
        groups = [
            *_groups(config, model.generator, config.mask_lr), *_groups(config, task.discriminator, config.mask_lr)
        ]
        stages.append(Stage("neutral", task, config.mask_epochs, config.mask_lr, config.mask_batch_size, groups,
                            neutral=True, valid_error=neutral_error))
    elif config.init is None:
        raise InputError("--mask_epochs 0 leaves DeRL's generator untrained: name a trained one with --init.")
    groups = [*_groups(config, model.local, config.lr), *_groups(config, model.head, config.lr)]  # not the generator
    task = ResidueTask(model, class_weight=config.class_weight, loss=CrossEntropy(config.label_smoothing))
    stages.append(Stage("residue", task, config.epochs, config.lr, config.batch_size, groups))
    return stages


def _fn2en_stages(config: TrainConfig, model: FN2EN) -> list[Stage]:
    stages = []
    if config.mask_epochs:
        if config.teacher is None:
            raise InputError("Stage 1 of fn2en learns from a face network: name it with --teacher, or leave the stage "
                             "out with --mask_epochs 0.")
        task = FeatureMatchTask(model, _create_teacher(config), config.teacher_map)
        groups = [*_groups(config, model.trunk, config.mask_lr), *_groups(config, task.adapt, config.mask_lr)]
        stages.append(Stage("features", task, config.mask_epochs, config.mask_lr, config.mask_batch_size, groups,
                            valid_error=task.error))
    return stages + _classifier_stages(config, model)


def _distillation(
        config: TrainConfig,
        model: nn.Module,
        classes: tuple[str, ...],
        recipe: Recipe | None,
) -> Distillation:
    teachers = []
    for name in config.teacher.split(","):
        check_recipe(recipe, recipe_of(name), f"--teacher {name}", config.any_recipe)
        teacher = load_model(name)
        known = class_names(teacher)
        if known != classes:
            raise InputError(f"--teacher {name} knows {', '.join(known)}, and the run {', '.join(classes)}: give a "
                             "teacher of the same classes in the same order.")
        teachers.append(Teacher(teacher, model))
    return Distillation(teachers, config.teacher_weight)


def _create_teacher(config: TrainConfig) -> nn.Module:
    try:
        teacher = load_model(config.teacher, features_only=True)
        teacher.feature_info.channels()[config.teacher_map]
    except IndexError as error:
        raise InputError(f"--teacher_map {config.teacher_map}: {config.teacher} has fewer feature maps.") from error
    except (AttributeError, TypeError) as error:
        raise InputError(f"--teacher {config.teacher} gives no feature maps: {error}") from error
    return teacher


def _loss(config: TrainConfig, model: nn.Module) -> nn.Module:
    """The configured loss; one of angles only where the model classifies by angles too."""
    classifier = model.get_classifier()
    if needs_cosines(config.loss) and not isinstance(classifier, CosineLinear):
        raise InputError(
            f"--loss {config.loss} trains angles, and this model classifies by {classifier}: use --arm msca, or fmpn "
            "or no_prior without weights of another head (--init), or --loss cross_entropy or center."
        )
    if config.loss == "center" and not isinstance(classifier, nn.Linear):
        raise InputError(f"--loss center gathers embeddings in front of one linear layer; this model has {classifier}: "
                         "take another --backbone, or --loss cross_entropy.")
    return create_loss(config.loss, classifier, config.label_smoothing)


def _groups(config: TrainConfig, module: nn.Module, lr: float, exempt: set[str] | tuple = ()) -> list[dict[str, Any]]:
    """Parameter groups of a module; biases and norms without weight decay."""
    groups = param_groups_weight_decay(module, config.weight_decay, no_weight_decay_list=exempt)
    return [dict(group, lr=lr) for group in groups]


def _backbone_groups(config: TrainConfig, backbone: nn.Module, lr: float) -> list[dict[str, Any]]:
    """Parameter groups of a timm model, with the layer decay asked for."""
    exempt = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
    if config.layer_decay == 1:
        return _groups(config, backbone, lr, exempt)
    decayed = param_groups_layer_decay(
        backbone, config.weight_decay, no_weight_decay_list=exempt, layer_decay=config.layer_decay
    )
    return [dict(params=g["params"], weight_decay=g["weight_decay"], lr=lr * g["lr_scale"]) for g in decayed]


#: What each arm trains.
MODELS = {"cnn": nn.Module, "no_prior": FMPN, "fmpn": FMPN, "derl": DeRL, "fn2en": FN2EN, "msca": MSCA}

#: The stages of each arm.
STAGES = {
    "cnn": _classifier_stages,
    "no_prior": _fmpn_stages,
    "fmpn": _fmpn_stages,
    "derl": _derl_stages,
    "fn2en": _fn2en_stages,
    "msca": _classifier_stages,
}
