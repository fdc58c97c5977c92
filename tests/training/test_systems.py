"""Tests of the stages that each arm is made of, and of runs of the arms beside FMPN's."""

import dataclasses
import json

import pytest
import timm
import torch

from fmpn_timm import cli
from fmpn_timm.data.readers import read_faces
from fmpn_timm.errors import InputError
from fmpn_timm.hub import save_model
from fmpn_timm.models import FN2EN, MSCA, CosineLinear, stride_for
from fmpn_timm.tasks import CenterCosineLoss, CenterLoss, CosFace
from fmpn_timm.training import TrainConfig, loop, train
from fmpn_timm.training.systems import create_model, create_stages
from tests.data.readers.ckplus import write_ckplus
from tests.training.runs import train_until, watch_stages

CLASSES = ("neutral", "happiness", "fear")


@pytest.fixture
def model():
    return timm.create_model("fmpn", backbone="test_resnet", generator_width=4, generator_blocks=1)


@pytest.mark.parametrize("mask_epochs", [0, 1])
@pytest.mark.parametrize(("arm", "expected"), [("fmpn", 1e-5), ("no_prior", 1e-4)])
def test_generator_has_its_own_rate(model, arm, expected, mask_epochs):
    config = TrainConfig(arm=arm, generator_lr=1e-5, lr=1e-4, mask_epochs=mask_epochs)
    stage = create_stages(config, model, CLASSES, None)[-1]
    generator = {id(p) for p in model.mask_generator.parameters()}
    rates = {(id(p) in generator, group["lr"]) for group in stage.groups for p in group["params"]}
    assert rates == {(True, expected), (False, 1e-4)}
    assert sum(len(group["params"]) for group in stage.groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (dict(arm="fmpn"), ["mask", "joint"]),
        (dict(arm="fmpn", mask_epochs=0), ["joint"]),
        (dict(arm="no_prior"), ["joint"]),
    ],
)
def test_stages(model, options, names):
    stages = create_stages(TrainConfig(**options, mask_weight=0.3, class_weight=0.7), model, CLASSES, None)
    assert [stage.name for stage in stages] == names
    assert [stage.classifies for stage in stages] == [name == "joint" for name in names]
    assert [stage.batch_size for stage in stages] == [16 if name == "joint" else 32 for name in names]
    assert stages[-1].masks == (options["arm"] == "fmpn")
    assert (stages[-1].task.mask_weight, stages[-1].task.class_weight) == (0.3 * stages[-1].masks, 0.7)


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
@pytest.mark.parametrize("arm", ["cnn", "fmpn"])
def test_biases_norms_and_what_the_backbone_names_are_not_decayed(arm, layer_decay):
    options = {} if arm == "cnn" else dict(backbone="test_vit", generator_width=4, generator_blocks=1)
    model = timm.create_model("test_vit" if arm == "cnn" else "fmpn", **options)
    config = TrainConfig(arm=arm, weight_decay=0.05, layer_decay=layer_decay)
    named = model.no_weight_decay()
    for stage in create_stages(config, model, CLASSES, None):
        decays = {id(p): group["weight_decay"] for group in stage.groups for p in group["params"]}
        learnt = [(name, p) for name, p in model.named_parameters() if id(p) in decays]
        assert len(learnt) == len(decays) > 0
        for name, p in learnt:
            assert decays[id(p)] == (0 if p.ndim == 1 or name in named else 0.05), name
    assert {name.removeprefix("backbone.") for name, _ in learnt} >= {"pos_embed", "cls_token"}
    rates = {name.rpartition("backbone.")[2]: group["lr"] for name, p in learnt for group in stage.groups
             if any(p is q for q in group["params"])}
    assert rates["head.weight"] == config.lr
    assert (rates["patch_embed.proj.weight"] < rates["blocks.1.attn.qkv.weight"] < config.lr) == (layer_decay < 1)


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """A run of seconds."""
    return TrainConfig(
        name="tiny", output=str(tmp_path / "runs"), data_options={"subjects": 5, "takes": 1, "size": 36},
        valid_split="valid", test_split="test", cache=True, backbone="test_resnet", generator_width=4,
        generator_blocks=1, size=32, load_size=36, mask_epochs=1, mask_lr=1e-2, mask_batch_size=8,
        epochs=2, lr=1e-3, batch_size=8, optimizer="adamw", progress=False,
    )


@pytest.fixture
def teacher(tmp_path) -> str:
    torch.manual_seed(3)
    save_model(timm.create_model("test_resnet", num_classes=3), tmp_path / "teacher", CLASSES, 32, 0.9)
    return f"local-dir:{tmp_path / 'teacher'}"


def saved(config: TrainConfig) -> str:
    return f"local-dir:{config.folder / 'model'}"


def evaluated(config: TrainConfig, capsys, *options: str) -> dict:
    capsys.readouterr()
    cli.main(["evaluate", saved(config), *options, "--no-flip", "--json"])
    return json.loads(capsys.readouterr().out)


# The initial weights, by --init


def test_other_classes_have_a_classifier_of_their_own(config, teacher, capsys):
    """Though there are as many of them: rows of its weights stand for names."""
    config, trained = dataclasses.replace(config, arm="cnn", init=teacher), timm.create_model(teacher, pretrained=True)
    assert torch.equal(create_model(config, CLASSES, None).fc.weight, trained.fc.weight)
    assert "does not know" not in capsys.readouterr().err
    model = create_model(config, ("happiness", "fear", "contempt"), None)
    for kept, its in ((model.fc.weight[:2], trained.fc.weight[1:]), (model.fc.bias[:2], trained.fc.bias[1:])):
        assert torch.equal(kept, its)
    assert not torch.isin(model.fc.weight[2], trained.fc.weight).any()
    assert torch.equal(model.conv1[0].weight, trained.conv1[0].weight)
    assert "does not know contempt: what tells them starts anew" in capsys.readouterr().err
    with pytest.raises(InputError, match="--epochs 0 reports on weights as they are.*does not know contempt"):
        create_model(dataclasses.replace(config, epochs=0), ("happiness", "fear", "contempt"), None)


def test_another_size_than_that_of_the_initial_weights_is_said(config, teacher, capsys):
    config = dataclasses.replace(config, arm="cnn", init=teacher)
    for size, said in ((32, False), (48, True)):
        create_model(dataclasses.replace(config, size=size), CLASSES, None)
        assert ("was trained at 32 pixels, and this run is at --size 48" in capsys.readouterr().err) == said


@pytest.mark.parametrize("arm", ["cnn", "fmpn", "derl"])
def test_weights_of_another_system_are_refused(config, tmp_path, arm):
    save_model(timm.create_model("msca", backbone="test_resnet", num_classes=3), tmp_path / "msca", CLASSES, 32, 0.9)
    with pytest.raises(InputError, match=f"a MSCA cannot be trained as --arm {arm}. Give weights of a"):
        create_model(dataclasses.replace(config, arm=arm, init=f"local-dir:{tmp_path / 'msca'}"), CLASSES, None)


def test_weights_of_another_backbone_are_refused(config, teacher):
    for arm in ("cnn", "fmpn"):
        with pytest.raises(InputError, match="not of --backbone resnet10t, but of test_resnet: give that"):
            create_model(dataclasses.replace(config, arm=arm, init=teacher, backbone="resnet10t"), CLASSES, None)


def test_a_backbone_alone_has_a_linear_layer_for_its_cosines(config, tmp_path):
    model = timm.create_model("fmpn", backbone="test_resnet", num_classes=3, generator_width=4, cosine_head=True)
    save_model(model, tmp_path / "cosine", CLASSES, 32, 0.9)
    alone = create_model(dataclasses.replace(config, arm="cnn", init=f"local-dir:{tmp_path / 'cosine'}"), CLASSES, None)
    save_model(alone, tmp_path / "alone", CLASSES, 32, 0.9)
    again = timm.create_model(f"local-dir:{tmp_path / 'alone'}", pretrained=True)
    assert torch.equal(again.conv1[0].weight, model.backbone.conv1[0].weight) and type(again.fc) is torch.nn.Linear
    faces = torch.randn(16, 3, 32, 32)
    assert torch.equal(again.eval()(faces).argmax(1), model.backbone.eval()(faces).argmax(1))


def test_another_mask_generator_than_that_of_the_initial_weights_is_refused(config, tmp_path):
    model = timm.create_model("fmpn", backbone="test_resnet", num_classes=3, generator="lite", generator_width=4)
    save_model(model, tmp_path / "lite", CLASSES, 32, 0.9)
    config = dataclasses.replace(config, arm="fmpn", init=f"local-dir:{tmp_path / 'lite'}")
    with pytest.raises(InputError, match="generator of its own: give --generator lite --generator_blocks 3"):
        create_model(config, CLASSES, None)
    config = dataclasses.replace(config, generator="lite", generator_blocks=None)
    assert create_model(config, CLASSES, None).generator_args["generator_width"] == 4


@pytest.mark.parametrize("size, own, expected", [
    (32, {}, {"stride": 2}), (112, {}, {"stride": 4}), (224, {}, {"stride": 8}), (224, {"stride": 4}, {"stride": 4}),
    (32, {"rank": 3}, {"stride": 2, "rank": 3}),
])
def test_a_mask_generator_of_ours_is_as_fine_as_the_size_of_the_faces_asks_for(config, size, own, expected):
    config = dataclasses.replace(config, arm="fmpn", generator="basis", size=size, load_size=size,
                                 model_kwargs={"generator_kwargs": own})
    model = create_model(config, CLASSES, None, torch.rand(3, size, size))
    assert model.generator_args["generator_kwargs"] == {"masks": 3, **expected}
    lite = dataclasses.replace(config, generator="lite", model_kwargs={})
    assert create_model(lite, CLASSES, None).generator_args["generator_kwargs"] == {"stride": stride_for(size)}


@pytest.mark.parametrize("behind", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("generator", ["paper", "lite", "basis"])
def test_a_trained_fmpn_takes_another_backbone(config, tmp_path, teacher, generator, behind):
    trained, masks = timm.create_model(teacher, pretrained=True), torch.rand(3, 36, 36)
    options = dict(generator=generator, generator_width=4, generator_blocks=2)
    kwargs = {} if generator == "paper" else {"stride": 8}
    model = timm.create_model("fmpn", backbone=behind, num_classes=3, img_size=32 if behind == "test_vit" else None,
                              **options, generator_kwargs=kwargs)
    torch.nn.init.normal_(model.fusion.head.weight)
    if generator == "basis":
        model.mask_generator.set_masks(torch.rand(3, 32, 32))
    save_model(model, tmp_path / "fmpn", CLASSES, 32, 0.9)
    init = f"local-dir:{tmp_path / 'fmpn'},{teacher}"
    config = dataclasses.replace(config, arm="fmpn", init=init, **dict(options, generator_blocks=None))

    joined = create_model(config, CLASSES, None, masks).eval()

    faces = torch.rand(2, 3, 32, 32)
    assert torch.equal(joined.motion_mask(faces), model.eval().motion_mask(faces))
    assert torch.equal(joined.forward_motion(faces).fused_face, model.forward_motion(faces).fused_face)
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in joined.backbone.state_dict().items())
    save_model(joined, tmp_path / "joined", CLASSES, 32, 0.9)
    again = timm.create_model(f"local-dir:{tmp_path / 'joined'}", pretrained=True).eval()
    assert torch.equal(again(faces), joined(faces))


def test_initial_weights_keep_the_normalisation_they_were_trained_with(config, tmp_path):
    norm = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    overlay = dict(mean=norm[0], std=norm[1])
    plain = timm.create_model("test_resnet", num_classes=3, pretrained_cfg_overlay=overlay)
    save_model(plain, tmp_path / "plain", CLASSES, 32, 0.9)
    config = dataclasses.replace(config, init=f"local-dir:{tmp_path / 'plain'}")
    model = create_model(dataclasses.replace(config, arm="fmpn"), CLASSES, None)
    assert model.backbone_norm == norm and torch.equal(model.backbone_mean.flatten(), torch.tensor(norm[0]))
    cfg = create_model(dataclasses.replace(config, arm="msca"), CLASSES, None).pretrained_cfg
    assert (cfg["mean"], cfg["std"]) == norm
    save_model(model, tmp_path / "fmpn", CLASSES, 32, 0.9)
    fmpn = dataclasses.replace(config, init=f"local-dir:{tmp_path / 'fmpn'}")
    assert create_model(dataclasses.replace(fmpn, arm="cnn"), CLASSES, None).pretrained_cfg["mean"] == norm[0]
    save_model(timm.create_model("test_resnet", num_classes=3), tmp_path / "other", CLASSES, 32, 0.9)
    both = dataclasses.replace(fmpn, arm="fmpn", init=f"{fmpn.init},local-dir:{tmp_path / 'other'}")
    other = timm.get_pretrained_cfg("test_resnet")
    assert create_model(both, CLASSES, None).backbone_norm == (other.mean, other.std)


@pytest.mark.parametrize("arm", ["cnn", "fmpn"])
def test_drop_rates_are_of_the_backbone_and_of_the_run(config, tmp_path, arm):
    config = dataclasses.replace(config, arm=arm, backbone_kwargs={"drop_rate": 0.5})

    def rate(config) -> float:
        model = create_model(config, CLASSES, None)
        save_model(model, tmp_path / "model", CLASSES, 32, 0.9)
        return getattr(model, "backbone", model).drop_rate

    assert rate(config) == 0.5
    again = dataclasses.replace(config, init=f"local-dir:{tmp_path / 'model'}", backbone_kwargs={})
    assert rate(again) == 0.0  # which timm's config.json does not hold
    assert rate(dataclasses.replace(again, backbone_kwargs={"drop_rate": 0.25})) == 0.25


def test_only_an_fmpn_takes_another_backbone(config, tmp_path, teacher):
    for arm, init in (("fmpn", f"{teacher},{teacher}"), ("cnn", f"{teacher},{teacher}")):
        with pytest.raises(InputError, match="before a comma stands an FMPN, to be trained as --arm fmpn"):
            create_model(dataclasses.replace(config, arm=arm, init=init), CLASSES, None)
    fmpn = timm.create_model("fmpn", backbone="test_resnet", generator_width=4)
    save_model(fmpn, tmp_path / "fmpn", CLASSES, 32, 0.9)
    init = f"local-dir:{tmp_path / 'fmpn'},{teacher}"
    wide = dataclasses.replace(config, arm="fmpn", generator_blocks=None, init=init, backbone_kwargs={"stem_width": 8})
    with pytest.raises(InputError, match="not of --backbone test_resnet with these --backbone_kwargs"):
        create_model(wide, CLASSES, None)


@pytest.mark.parametrize("loss", ["center_cosine", "cosface"])
def test_a_plain_classifier_becomes_a_backbone_that_classifies_by_angles(config, teacher, loss):
    trained = timm.create_model(teacher, pretrained=True)
    model = create_model(dataclasses.replace(config, arm="fmpn", init=teacher, loss=loss), CLASSES, None)
    assert torch.equal(model.backbone.conv1[0].weight, trained.conv1[0].weight)
    assert isinstance(model.get_classifier(), CosineLinear) and model.num_classes == 3


@pytest.mark.parametrize("arm", ["fmpn", "msca"])
def test_initial_weights_spare_those_that_they_replace(config, teacher, arm, monkeypatch):
    def fetch(*_, **__):
        raise ConnectionError

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fetch)
    config = dataclasses.replace(config, arm=arm, pretrained_backbone=True, init=teacher)
    assert create_model(config, CLASSES, None).num_classes == 3
    with pytest.raises(InputError, match=r"out of reach.*start without them \(--pretrained_backbone false\)"):
        create_model(dataclasses.replace(config, init=None), CLASSES, None)


def test_a_backbone_that_has_no_weights_may_start_without(config):
    config = dataclasses.replace(config, backbone="resnet18_small", pretrained_backbone=True)
    with pytest.raises(InputError, match=r"No pretrained weights.*, or start .*--pretrained_backbone false"):
        create_model(config, CLASSES, None)


@pytest.mark.parametrize("arm", ["fmpn", "msca"])
def test_a_backbone_may_have_a_tag(config, arm):
    config = dataclasses.replace(config, arm=arm, backbone="resnet18.a1_in1k", generator_width=None)
    assert create_model(config, CLASSES, None).backbone.pretrained_cfg["architecture"] == "resnet18"


@pytest.mark.parametrize("option", ["model_kwargs", "backbone_kwargs"])
def test_faces_have_three_channels(config, option):
    with pytest.raises(InputError, match="Faces are loaded as RGB, grey ones too: leave in_chans out"):
        create_model(dataclasses.replace(config, **{option: {"in_chans": 1}}), CLASSES, None)


@pytest.mark.parametrize("arm", ["cnn", "no_prior"])
def test_initial_weights_at_another_size(config, tmp_path, arm):
    fixed = {"dynamic_img_size": False}
    small = timm.create_model("test_vit", num_classes=3, img_size=32, **fixed)
    save_model(small, tmp_path / "vit", CLASSES, 32, 0.9)
    config = dataclasses.replace(config, arm=arm, init=f"local-dir:{tmp_path / 'vit'}", backbone="test_vit", size=48,
                                 load_size=48, backbone_kwargs=fixed)
    assert create_model(config, CLASSES, None)(torch.rand(1, 3, 48, 48)).shape == (1, 3)


# The loss, by --loss


@pytest.mark.parametrize(
    ("name", "kind"), [("center", CenterLoss), ("cosface", CosFace), ("center_cosine", CenterCosineLoss)]
)
@pytest.mark.parametrize("arm", ["fmpn", "msca", "fn2en", "cnn"])
def test_loss_of_each_arm(config, name, kind, arm):
    config = dataclasses.replace(config, arm=arm, loss=name, mask_epochs=0, label_smoothing=0.1)
    model = create_model(config, CLASSES, None)
    if name != "center" and arm in ("fn2en", "cnn"):
        with pytest.raises(InputError, match=f"--loss {name} trains angles.*--arm msca"):
            create_stages(config, model, CLASSES, None)
        return
    (stage,) = create_stages(config, model, CLASSES, None)
    assert type(stage.task.loss) is kind and stage.task.loss.label_smoothing == 0.1
    assert isinstance(model.get_classifier(), CosineLinear) == (name != "center" or arm == "msca")


def test_center_cosine_trains_fmpn(config, capsys):
    config = dataclasses.replace(config, loss="center_cosine", epochs=1)
    summary = train(config)
    model = timm.create_model(saved(config), pretrained=True)
    assert isinstance(model.get_classifier(), CosineLinear)
    options = ("--dataset", "drawn", "--split", "test", *(f"--option={k}={v}" for k, v in config.data_options.items()))
    assert evaluated(config, capsys, *options)["confusion"] == summary["metrics"]["confusion"]


def test_center_loss_run_resumes_with_its_centres(config, monkeypatch):
    config = dataclasses.replace(config, arm="cnn", loss="center", epochs=2)
    train(dataclasses.replace(config, name="whole"))
    config = dataclasses.replace(config, resume="auto")
    train_until(config, 1, monkeypatch)
    train(config)
    expected = timm.create_model(saved(dataclasses.replace(config, name="whole")), pretrained=True).state_dict()
    got = timm.create_model(saved(config), pretrained=True).state_dict()
    assert all(torch.equal(got[k], expected[k]) for k in expected)


# MSCA


def test_msca_run(config, capsys):
    config = dataclasses.replace(config, arm="msca", loss="center_cosine", layer_decay=0.8, ema=0.9)
    summary = train(config)
    assert summary["arm"] == "msca" and (config.folder / "embedding.png").stat().st_size > 0
    assert isinstance(timm.create_model(saved(config), pretrained=True), MSCA)
    options = ("--dataset", "drawn", "--split", "test", *(f"--option={k}={v}" for k, v in config.data_options.items()))
    assert evaluated(config, capsys, *options)["confusion"] == summary["metrics"]["confusion"]


def test_a_classifier_gives_its_weights_to_mscas_backbone(config, teacher):
    config = dataclasses.replace(config, arm="msca", init=teacher)
    model, alone = create_model(config, CLASSES, None), timm.create_model(teacher, pretrained=True)
    ours = model.backbone.state_dict()
    assert ours and all(torch.equal(ours[k], alone.state_dict()[k]) for k in ours)
    with pytest.raises(InputError, match="not of --backbone resnet10t"):
        create_model(dataclasses.replace(config, backbone="resnet10t"), CLASSES, None)
    again = dataclasses.replace(config, init=f"{teacher}2")
    save_model(model, again.init.removeprefix("local-dir:"), CLASSES, 32, 0.9)
    assert isinstance(create_model(again, CLASSES, None), MSCA)


# FN2EN


@pytest.mark.parametrize(("protocol", "number"), [("fn2en-8", 8), ("fn2en-6", 6)])
def test_fn2en_run_by_its_protocol(config, teacher, tmp_path, protocol, number, monkeypatch):
    codes = [1, 2, 3, 4, 5, 6, 7] * 2  # the second is contempt
    sequences = [(f"S{n:03d}", "001", 5, code) for n, code in enumerate(codes)]
    root = write_ckplus(tmp_path / "ckplus", sequences=sequences)
    seen = watch_stages(monkeypatch)
    config = dataclasses.replace(
        config, arm="fn2en", model_kwargs={"pools": 3}, teacher=teacher, optimizer="sgd", beta1=0.9, dataset="ckplus",
        root=str(root), data_options={}, protocol=protocol, fold=1, valid_split=None, valid_fraction=0.3,
        mask_batch_size=4, batch_size=4, epochs=1, ema=0.5,
    )
    summary = train(config)
    assert seen == {"features": {"trunk"}, "joint": {"trunk", "hidden", "fc"}}
    assert len(summary["metrics"]["classes"]) == number
    rows = (config.folder / "summary.csv").read_text().splitlines()
    assert "valid_loss" in rows[0] and rows[1].startswith("features,1") and rows[2].startswith("joint,1")
    model = timm.create_model(saved(config), pretrained=True)
    assert isinstance(model, FN2EN) and model.pretrained_cfg["label_names"] == summary["metrics"]["classes"]
    assert {k.split(".")[0] for k in model.state_dict()} == {"trunk", "hidden", "fc"}


def test_what_adapts_the_channels_learns_with_the_convolutions(config, teacher):
    config = dataclasses.replace(config, arm="fn2en", teacher=teacher)
    model = create_model(config, CLASSES, None)
    first, _ = create_stages(config, model, CLASSES, None)
    learning = {id(p) for group in first.groups for p in group["params"]}
    assert learning == {id(p) for p in (*model.trunk.parameters(), first.task.adapt.weight)}


def test_momentum_of_sgd(config):
    fn2en = dict(arm="fn2en", model_kwargs={"pools": 3}, mask_epochs=0)
    config = dataclasses.replace(config, **fn2en, optimizer="sgd", beta1=0.9, weight_decay=1e-4)
    (stage,) = create_stages(config, create_model(config, CLASSES, None), CLASSES, None)
    optimizer = loop._create_optimizer(config, stage)
    assert isinstance(optimizer, torch.optim.SGD)
    assert {(g["momentum"], g["lr"]) for g in optimizer.param_groups} == {(0.9, config.lr)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(teacher=None), "--teacher"),
        (dict(teacher="local-dir:/nowhere"), "/nowhere holds no config.json"),
        (dict(teacher_map=9), "--teacher_map 9: .* has fewer feature maps"),
        (dict(teacher="resnet1"), "resnet1"),
    ],
)
def test_teacher_that_will_not_do(config, teacher, options, message):
    fn2en = {"arm": "fn2en", "model_kwargs": {"pools": 3}, "teacher": teacher}
    config = dataclasses.replace(config, **{**fn2en, **options})
    with pytest.raises(InputError, match=message):
        create_stages(config, create_model(config, CLASSES, None), CLASSES, None)


# Distillation, by --teacher


@pytest.mark.parametrize("arm", ["cnn", "fmpn", "no_prior", "msca"])
def test_classifiers_learn_from_a_teacher(config, teacher, arm):
    config = dataclasses.replace(config, arm=arm, teacher=f"{teacher},{teacher}", teacher_weight=0.25)
    task = create_stages(config, create_model(config, CLASSES, None), CLASSES, None)[-1].task
    assert len(task.distillation.teachers) == 2 and task.distillation.weight == 0.25


def test_distilled_run(config, tmp_path):
    """A teacher that knows one class alone teaches that one, whatever the labels say."""
    classes = read_faces("drawn", None, "train", **config.data_options).classes
    network = timm.create_model("test_resnet", num_classes=len(classes))
    torch.nn.init.constant_(network.get_classifier().bias[3:4], 9.0)
    save_model(network, tmp_path / "teacher", classes, 32, 0.9)
    config = dataclasses.replace(config, arm="cnn", lr=1e-2, augment="device", test_split=None,
                                 teacher=f"local-dir:{tmp_path / 'teacher'}", teacher_weight=1.0)
    predicted = torch.tensor(train(config)["metrics"]["confusion"]).sum(0)
    assert predicted[3] == predicted.sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arm="derl"), "--teacher .*: DeRL learns the labels alone"),
        (dict(arm="cnn"), "teacher knows neutral, happiness, fear, and the run fear, happiness, neutral: give"),
    ],
)
def test_teacher_of_a_classifier_that_will_not_do(config, teacher, options, message):
    config = dataclasses.replace(config, teacher=teacher, **options)
    classes = CLASSES[::-1]
    with pytest.raises(InputError, match=message):
        create_stages(config, create_model(config, classes, None), classes, None)
