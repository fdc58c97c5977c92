"""Tests of the whole network and of its life inside timm."""

import copy
import json
import pickle

import pytest
import timm
import torch
from timm.models import group_parameters, save_for_hf
from timm.optim import param_groups_layer_decay
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from fmpn_timm.hub import save_model
from fmpn_timm.models import FMPN

create_model = timm.create_model  # some tests replace timm's

BACKBONES = (
    "inception_v3", "resnet18", "resnet50", "resnet152", "vgg16_bn", "densenet121", "mobilenetv3_small_100",
    "mobilenetv3_large_100", "efficientnet_b0", "convnext_tiny", "vit_small_patch16_224",
    "swin_tiny_patch4_window7_224", "resnet18_small",
)
NAMES = ("fmpn", *(f"fmpn_{name}" for name in BACKBONES))
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")
TINY_SWIN = dict(
    backbone="swin_tiny_patch4_window7_224", img_size=56,
    backbone_kwargs=dict(embed_dim=16, depths=(1, 1), num_heads=(2, 2)),
)
TINY = {
    "resnet": dict(backbone="test_resnet"),
    "efficientnet": dict(backbone="test_efficientnet"),
    "convnext": dict(backbone="test_convnext"),
    "vit": dict(backbone="test_vit", img_size=64),
    "swin": TINY_SWIN,
}


def small(backbone: str = "test_resnet", **kwargs) -> nn.Module:
    torch.manual_seed(0)
    return create_model("fmpn", backbone=backbone, generator_width=4, generator_blocks=1, **kwargs)


@torch.no_grad()
def lively(model: FMPN) -> FMPN:
    """Weights under which mask, fused face and logits depend on the face: at the start the mask is 0.5 all over."""
    torch.manual_seed(1)
    for module in (*model.mask_generator.modules(), *model.fusion.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
    if isinstance(model.get_classifier(), nn.Linear):
        nn.init.normal_(model.get_classifier().weight)
    return model.eval()


def faces(size: int | tuple[int, int] = 64, chans: int = 3, batch: int = 2) -> torch.Tensor:
    size = (size, size) if isinstance(size, int) else size
    return torch.rand(batch, chans, *size, generator=torch.Generator().manual_seed(2))


def size_of(kwargs: dict) -> int:
    return kwargs.get("img_size", 64)


def saved(model: nn.Module, folder, size: int = 64) -> str:
    save_model(model, folder, CLASSES[:model.num_classes], size, 0.9)
    return f"local-dir:{folder}"


def config(folder) -> dict:
    return json.loads((folder / "config.json").read_text())


def same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.fixture(scope="module", params=TINY)
def kind(request) -> dict:
    return TINY[request.param]


@pytest.fixture
def model() -> FMPN:
    return lively(small())


# Registry


def test_timm_lists_exactly_our_names():
    assert set(timm.list_models("fmpn*", module="fmpn")) == set(NAMES)


@pytest.fixture(scope="module", params=NAMES)
def registered(request) -> FMPN:
    return create_model(request.param, device="meta")


def test_registered_model_has_the_shapes_it_promises(registered):
    assert isinstance(registered, FMPN)
    x = torch.empty(2, *registered.pretrained_cfg["input_size"], device="meta")
    out = registered.eval().forward_motion(x)
    assert registered.num_classes == 7 and out.logits.shape == (2, 7)
    assert out.motion_mask.shape == (2, 1, *x.shape[2:]) and out.fused_face.shape == (2, 3, *x.shape[2:])
    pre_logits = registered.forward_head(registered.forward_features(x), pre_logits=True)
    assert pre_logits.shape == (2, registered.head_hidden_size)


def test_registered_model_is_on_the_meta_device_whole(registered):
    assert {t.device.type for t in (*registered.parameters(), *registered.buffers())} == {"meta"}


def test_registered_config_fits_the_model(registered):
    cfg, weights = registered.pretrained_cfg, registered.state_dict()
    assert cfg["mean"] == (0.0, 0.0, 0.0) and cfg["std"] == (1.0, 1.0, 1.0)
    assert cfg["num_classes"] == 7 and cfg["input_size"][0] == 3
    assert cfg["input_size"] == registered.backbone.pretrained_cfg["input_size"]
    assert weights[f"{cfg['classifier']}.weight"].shape[0] == weights[f"{cfg['classifier']}.bias"].shape[0] == 7
    assert registered.get_submodule(cfg["classifier"]) is registered.get_classifier()
    assert weights[f"{cfg['first_conv']}.weight"].shape == (3, 3, 3, 3)


def test_registered_generator_and_fusion_have_the_papers_sizes(registered):
    assert sum(p.numel() for p in registered.mask_generator.parameters()) == 6_040_968
    assert sum(p.numel() for p in registered.fusion.parameters()) == 377


@pytest.mark.parametrize("name", BACKBONES)
def test_name_means_its_backbone(name):
    ours = create_model(f"fmpn_{name}", num_classes=5, device="meta").backbone
    theirs = create_model(name, num_classes=5, device="meta")
    assert type(ours) is type(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_generic_name_takes_the_config_of_its_backbone():
    model = create_model("fmpn", backbone="test_vit", device="meta")
    assert model.pretrained_cfg["input_size"] == (3, 160, 160)
    assert model.pretrained_cfg["classifier"] == "backbone.head"
    assert model.pretrained_cfg["mean"] == (0.0, 0.0, 0.0)


def test_data_config_leaves_faces_as_they_are():
    data = timm.data.resolve_model_data_config(create_model("fmpn_inception_v3", device="meta"))
    assert data["mean"] == (0.0, 0.0, 0.0) and data["std"] == (1.0, 1.0, 1.0) and data["input_size"] == (3, 299, 299)


# The network


def test_logits_are_the_backbones_on_the_normalised_fused_face(kind):
    model, x = lively(small(**kind)), faces(size_of(kind))
    cfg = timm.get_pretrained_cfg(kind["backbone"])
    with torch.inference_mode():
        red, green, blue = x.unbind(1)
        grey = (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)
        mask = model.mask_generator(grey)
        fused = model.fusion(x, grey * mask)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (cfg.mean, cfg.std))
        logits = model.backbone((fused - mean) / std)
        out = model.forward_motion(x)
    assert mask.std() > 0.01 and fused.std() > 0.01 and (logits[0] - logits[1]).abs().max() > 1e-3
    torch.testing.assert_close(out.motion_mask, mask, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.fused_face, fused, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.logits, logits, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_all_forwards_agree(kind):
    model, x = lively(small(**kind)), faces(size_of(kind))
    out = model.forward_motion(x)
    same(model(x), out.logits)
    same(model.forward_head(model.forward_features(x)), out.logits)
    same(model.motion_mask(x), out.motion_mask)


@pytest.mark.parametrize("method", ["forward_motion", "forward", "motion_mask", "forward_features"])
def test_generator_runs_once_per_pass(model, method):
    calls = []
    model.mask_generator.register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        getattr(model, method)(faces())
    assert len(calls) == 1


@pytest.mark.parametrize("size", [33, 50, (75, 62), (62, 75), 64])
@torch.inference_mode()
def test_any_size(model, size):
    x = faces(size)
    logits, mask, fused = model.forward_motion(x)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    assert mask.shape == (2, 1, *x.shape[2:]) and fused.shape == x.shape
    for image in (mask, fused):
        assert image.min() >= 0 and image.max() <= 1 and image.std() > 0.01


@torch.inference_mode()
def test_faces_of_a_batch_do_not_mix(model):
    x = faces(batch=3)
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient_from_the_logits_alone(kind):
    model = small(**kind).train()
    nn.init.normal_(model.get_classifier().weight)  # some backbones start with a head of zeros
    logits = model(faces(size_of(kind), batch=4))
    assert isinstance(logits, torch.Tensor)
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(p.grad.any() for m in (model.mask_generator, model.fusion) for p in m.parameters())


@pytest.mark.parametrize("kwargs", [TINY["resnet"], TINY["vit"], TINY["swin"]], ids=["resnet", "vit", "swin"])
def test_gradient_checkpointing_changes_no_logits_and_no_gradients(kwargs):
    plain = lively(small(**kwargs)).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    assert saving.grad_checkpointing and not plain.grad_checkpointing
    calls = []
    saving.mask_generator.blocks[0].register_forward_pre_hook(lambda *_: calls.append("mask"))
    saving.fusion.register_forward_pre_hook(lambda *_: calls.append("face"))
    x = faces(size_of(kwargs))
    outputs = []
    for model in (plain, saving):
        torch.manual_seed(3)  # stochastic depth
        outputs.append(model(x))
    for logits in outputs:
        logits.logsumexp(1).sum().backward()
    assert calls == ["mask", "face", "face", "mask"]  # again for the backward pass
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)
    for (name, ours), theirs in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(
            theirs.grad, ours.grad, rtol=1e-4, atol=1e-5 * (1 + ours.grad.abs().max().item()),
            msg=lambda text, n=name: f"{n}: {text}",
        )
    saving.set_grad_checkpointing(False)
    assert not saving.grad_checkpointing


def test_a_backbone_without_gradient_checkpointing_leaves_it_to_the_rest(caplog):
    model = small(backbone="dla46_c").train()
    model.set_grad_checkpointing()
    assert model.grad_checkpointing and "DLA has no gradient checkpointing" in caplog.text
    model.forward_motion(faces())[1].sum().backward()
    assert all(p.grad.any() for p in model.mask_generator.parameters())


# Precision and copies


@torch.inference_mode()
def test_bfloat16_model_gives_bfloat16(kind):
    model, x = lively(small(**kind)), faces(size_of(kind))
    expected = model(x)
    logits, mask, fused = model.to(torch.bfloat16).forward_motion(x.bfloat16())
    assert logits.dtype == mask.dtype == fused.dtype == torch.bfloat16
    assert (logits.float() - expected).abs().max() < 0.3 * (1 + expected.abs().max())


def test_created_in_bfloat16():
    model = small(dtype=torch.bfloat16)
    assert {t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()} == {torch.bfloat16}


@torch.inference_mode()
def test_autocast_keeps_the_fused_face_in_float32():
    model, x = small().eval(), faces()  # as initialised: the fused face lies within thousandths of 0.5
    exact = model.forward_motion(x).fused_face
    with torch.autocast("cpu", torch.bfloat16):
        logits, _, fused = model.forward_motion(x)
    assert logits.dtype == torch.bfloat16 and fused.dtype == torch.float32
    signal = (exact - 0.5).abs().max()
    assert 0 < signal < 2e-3
    assert (fused - exact).abs().max() < 0.1 * signal


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
@torch.inference_mode()
def test_copies_are_equal_and_apart(model, how, tmp_path):
    x = faces()
    expected = model(x)
    twin = how(model)
    same(twin(x), expected)
    for name, folder in ((model, tmp_path / "a"), (twin, tmp_path / "b")):
        saved(name, folder)
    assert config(tmp_path / "a") == config(tmp_path / "b")
    for tensor in (*twin.parameters(), *twin.buffers()):
        tensor.zero_()
    same(model(x), expected)


# Grey faces


def test_grey_model_from_an_rgb_one_equals_it_on_grey_faces(model, tmp_path):
    name = saved(model, tmp_path / "rgb")
    grey_model = create_model(name, pretrained=True, in_chans=1).eval()
    assert grey_model.in_chans == 1 and grey_model.fusion.face[0].weight.shape == (3, 1, 3, 3)
    grey = faces(chans=1)
    with torch.inference_mode():
        ours, theirs = grey_model.forward_motion(grey), model.forward_motion(grey.expand(-1, 3, -1, -1))
    assert (ours.logits[0] - ours.logits[1]).abs().max() > 1e-3
    torch.testing.assert_close(ours.motion_mask, theirs.motion_mask, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.fused_face, theirs.fused_face, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-4)


def test_grey_model_survives_a_round_trip(tmp_path):
    model = lively(small(in_chans=1))
    loaded = create_model(saved(model, tmp_path / "grey"), pretrained=True).eval()
    assert loaded.in_chans == 1 and config(tmp_path / "grey")["pretrained_cfg"]["input_size"] == [1, 64, 64]
    with torch.inference_mode():
        same(loaded(faces(chans=1)), model(faces(chans=1)))


@pytest.mark.parametrize(("in_chans", "given"), [(3, 1), (1, 3), (3, 4)])
@pytest.mark.parametrize("method", ["forward", "motion_mask", "forward_motion", "forward_features"])
def test_wrong_channels_are_refused(in_chans, given, method):
    with pytest.raises(AssertionError, match="in_chans"):
        getattr(small(in_chans=in_chans), method)(faces(chans=given))


@pytest.mark.parametrize("in_chans", [0, 2, 4])
def test_senseless_in_chans_is_refused(in_chans):
    with pytest.raises(ValueError, match=f"RGB.*grey.*in_chans={in_chans}"):
        small(in_chans=in_chans)


# Arguments


def test_unknown_backbone_is_refused_with_close_names():
    with pytest.raises(ValueError, match="Unknown backbone 'resnet181'.*Did you mean.*resnet18"):
        small("resnet181")


@pytest.mark.parametrize("name", ["fmpn", "fmpn_resnet18", "", "zzzzzz"])
def test_backbone_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="Unknown backbone"):
        small(name)


@pytest.mark.parametrize("name", ["fmpn", "fmpn_resnet18"])
def test_unknown_arguments_are_refused(name):
    with pytest.raises(TypeError, match="no_such_argument"):
        create_model(name, no_such_argument=1, device="meta")


def test_unknown_backbone_arguments_are_refused():
    with pytest.raises(TypeError, match="no_such_argument"):
        small(backbone_kwargs=dict(no_such_argument=1))


def test_backbone_with_a_tag():
    assert isinstance(small("test_resnet.r160_in1k"), FMPN)


def test_drop_rates_reach_the_backbone():
    model = small("test_convnext", drop_rate=0.25, drop_path_rate=0.5)
    assert model.backbone.drop_rate == 0.25
    rates = [m.drop_prob for m in model.backbone.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == 0.5


def test_generator_size_arguments():
    model = create_model("fmpn", backbone="test_resnet", generator_width=8, generator_blocks=2)
    assert model.mask_generator.stem.conv.out_channels == 8 and len(model.mask_generator.blocks) == 2


# The backbone's normalisation


def normalisation(model: FMPN) -> tuple[list[float], list[float]]:
    return model.backbone_mean.flatten().tolist(), model.backbone_std.flatten().tolist()


@pytest.mark.parametrize(
    ("kwargs", "mean", "std"),
    [
        (TINY["resnet"], (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        (TINY["swin"], (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
    ids=["resnet", "swin"],
)
def test_normalisation_is_the_backbones(kwargs, mean, std):
    model = small(**kwargs)
    assert normalisation(model)[0] == pytest.approx(mean) and normalisation(model)[1] == pytest.approx(std)


def test_normalisation_can_be_given_and_survives_a_round_trip(tmp_path):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    model = lively(small(backbone_mean=mean, backbone_std=std))
    loaded = create_model(saved(model, tmp_path / "m"), pretrained=True).eval()
    for m in (model, loaded):
        assert normalisation(m)[0] == pytest.approx(mean) and normalisation(m)[1] == pytest.approx(std)
    with torch.inference_mode():
        same(loaded(faces()), model(faces()))
        assert (model(faces()) - lively(small())(faces())).abs().max() > 1e-3  # it matters


def test_default_normalisation_is_written_down(tmp_path):
    """A later default of the backbone's must not change a saved model."""
    saved(small(), tmp_path / "m")
    args, cfg = config(tmp_path / "m")["model_args"], timm.get_pretrained_cfg("test_resnet")
    assert args["backbone_mean"] == list(cfg.mean) and args["backbone_std"] == list(cfg.std)
    edited = config(tmp_path / "m")
    edited["model_args"]["backbone_mean"] = [0.7, 0.7, 0.7]
    (tmp_path / "m" / "config.json").write_text(json.dumps(edited))
    loaded = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert normalisation(loaded)[0] == pytest.approx([0.7] * 3)


@pytest.mark.parametrize("kwargs", [TINY["resnet"], TINY["swin"]], ids=["resnet", "swin"])
@torch.inference_mode()
def test_buffers_outside_the_checkpoint_are_right_after_meta_construction(kwargs):
    source = lively(small(**kwargs))
    assert not {"backbone_mean", "backbone_std"} & set(source.state_dict())
    model = small(**kwargs, device="meta").to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.fill_(3)  # what empty memory holds is luck
    model.load_state_dict(source.state_dict())
    for module in model.modules():
        if hasattr(module, "init_non_persistent_buffers"):
            module.init_non_persistent_buffers()
    assert normalisation(model) == normalisation(source)
    same(model.eval()(faces(size_of(kwargs))), source(faces(size_of(kwargs))))


# Saving and loading


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
def test_round_trip_is_bit_exact(kind, memory_format, tmp_path):
    size = size_of(kind)
    model = lively(small(**kind)).to(memory_format=memory_format)
    name = saved(model, tmp_path / "m", size)
    loaded = create_model(name, pretrained=True).eval()
    assert model.state_dict().keys() == loaded.state_dict().keys()
    for (key, ours), theirs in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key
    down = model.mask_generator.down1.conv.weight  # saving leaves the caller's model as it was
    assert down.is_contiguous(memory_format=memory_format)
    with torch.inference_mode():
        same(loaded(faces(size)), model.to(memory_format=torch.contiguous_format)(faces(size)))


@pytest.mark.parametrize("num_classes", [5, 0])
def test_other_number_of_classes_drops_only_the_head(model, num_classes, tmp_path):
    name = saved(model, tmp_path / "m")
    loaded = create_model(name, pretrained=True, num_classes=num_classes).eval()
    assert loaded.num_classes == num_classes
    ours, theirs = model.state_dict(), loaded.state_dict()
    body = {k for k in ours if not k.startswith("backbone.fc.")}
    assert body == {k for k in theirs if not k.startswith("backbone.fc.")}
    assert all(torch.equal(ours[k], theirs[k]) for k in body)
    with torch.inference_mode():
        assert loaded(faces()).shape == (2, num_classes or model.num_features)


def test_backbone_kwargs_reach_the_backbone_and_survive_a_round_trip(tmp_path):
    channels = [16, 24, 24, 40]
    model = lively(small(backbone_kwargs=dict(channels=channels)))
    assert model.num_features == 40
    name = saved(model, tmp_path / "m")
    assert config(tmp_path / "m")["model_args"]["backbone_kwargs"] == {"channels": channels}
    with torch.inference_mode():
        same(create_model(name, pretrained=True).eval()(faces()), model(faces()))


@pytest.fixture
def requests_for_weights(monkeypatch) -> list[tuple[str, bool]]:
    """Backbones that the model creates, each with whether it asks for its own weights; none are downloaded."""
    requests = []

    def create(name, *args, pretrained=False, **kwargs):
        requests.append((name, pretrained))
        return create_model(name, *args, pretrained=False, **kwargs)

    monkeypatch.setattr("fmpn_timm.models.fmpn.timm.create_model", create)
    return requests


@pytest.mark.parametrize("asked", [True, False])
def test_backbone_weights_are_loaded_when_asked_for(requests_for_weights, asked):
    small(pretrained_backbone=asked)
    assert requests_for_weights == [("test_resnet", asked)]


def test_backbone_weights_are_not_asked_for_by_default(requests_for_weights):
    small()
    assert requests_for_weights == [("test_resnet", False)]


@pytest.mark.parametrize("pretrained", [True, False])
def test_request_for_backbone_weights_does_not_travel(requests_for_weights, pretrained, tmp_path):
    name = saved(small(pretrained_backbone=True), tmp_path / "m")
    assert "pretrained_backbone" not in (tmp_path / "m" / "config.json").read_text()
    requests_for_weights.clear()
    create_model(name, pretrained=pretrained)
    assert requests_for_weights == [("test_resnet", False)]


def test_request_for_backbone_weights_in_a_config_is_ignored(requests_for_weights, tmp_path):
    name = saved(small(), tmp_path / "m")
    edited = config(tmp_path / "m")
    edited["model_args"]["pretrained_backbone"] = True
    (tmp_path / "m" / "config.json").write_text(json.dumps(edited))
    requests_for_weights.clear()
    create_model(name, pretrained=True)
    assert requests_for_weights == [("test_resnet", False)]


def test_config_names_classes_and_size(tmp_path):
    saved(small(), tmp_path / "m")
    loaded = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True)
    assert loaded.pretrained_cfg["label_names"] == list(CLASSES)
    assert loaded.pretrained_cfg["input_size"] == (3, 64, 64) and loaded.pretrained_cfg["crop_pct"] == 0.9


# Input size of backbones made for one


@pytest.mark.parametrize(("old", "new"), [(64, 96), (96, 64), ((64, 96), 96), ((64, 96), (96, 64))])
@torch.inference_mode()
def test_position_embedding_is_resampled_for_another_size(old, new, tmp_path):
    """This ViT resamples by itself, in every pass, so the model that was saved says what is right."""
    model = lively(small("test_vit", img_size=old))
    save_for_hf(model, str(tmp_path / "m"), safe_serialization=True)
    loaded = create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True, img_size=new).eval()
    height, width = (new, new) if isinstance(new, int) else new
    assert loaded.backbone.patch_embed.grid_size == (height // 16, width // 16)
    torch.testing.assert_close(loaded(faces(new)), model(faces(new)), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_other_size_and_other_number_of_classes_at_once(tmp_path):
    model = lively(small("test_vit3", img_size=64))
    name = saved(model, tmp_path / "m")
    loaded = create_model(name, pretrained=True, img_size=96, num_classes=3).eval()
    assert loaded(faces(96)).shape == (2, 3)
    assert torch.equal(loaded.backbone.blocks[0].attn.qkv.weight, model.backbone.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("kwargs", [dict(backbone="test_vit3", img_size=64), TINY_SWIN], ids=["vit", "swin"])
@torch.inference_mode()
def test_size_changed_in_place_is_saved(kwargs, tmp_path):
    model = lively(small(**kwargs))
    size = 2 * kwargs["img_size"]
    model.set_input_size(size)
    name = saved(model, tmp_path / "m", size)
    loaded = create_model(name, pretrained=True).eval()
    same(loaded(faces(size)), model(faces(size)))


@torch.inference_mode()
def test_backbones_of_any_size_ignore_a_change_of_size(model):
    expected = model(faces())
    model.set_input_size(96)
    same(model(faces()), expected)


# timm's contract


def test_attributes_are_the_backbones(kind):
    model, bare = small(**kind), small(**kind).backbone
    assert (model.num_classes, model.num_features, model.head_hidden_size) == (
        7, bare.num_features, bare.head_hidden_size)
    assert [i["num_chs"] for i in model.feature_info] == [i["num_chs"] for i in bare.feature_info]
    names = dict(model.named_modules())
    assert all(i["module"] in names for i in model.feature_info)


@torch.inference_mode()
def test_reset_classifier(kind):
    model, x = small(**kind).eval(), faces(size_of(kind))
    model.reset_classifier(5)
    assert model.num_classes == 5 and model.get_classifier().out_features == 5 and model(x).shape == (2, 5)
    model.reset_classifier(0)
    assert model.num_classes == 0 and model(x).shape == (2, model.head_hidden_size)


@torch.inference_mode()
def test_zero_classes_give_pooled_features(model):
    expected = model.forward_head(model.forward_features(faces()), pre_logits=True)
    model.reset_classifier(0)
    same(model(faces()), expected)


@torch.inference_mode()
def test_reset_classifier_changes_the_pooling(model):
    features = model.forward_features(faces())
    model.reset_classifier(0, "max")
    assert model.global_pool == "max"
    same(model(faces()), features.amax((2, 3)))
    model.reset_classifier(0, "")
    same(model(faces()), features)


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("kwargs", [TINY["resnet"], TINY["vit"]], ids=["resnet", "vit"])
@torch.inference_mode()
def test_changed_head_and_pooling_survive_a_round_trip(kwargs, pool, tmp_path):
    model = lively(small(**kwargs))
    model.reset_classifier(5, pool)
    loaded = create_model(saved(model, tmp_path / "m"), pretrained=True).eval()
    assert loaded.num_classes == 5
    same(loaded(faces()), model(faces()))


def test_get_classifier_is_the_backbones(kind):
    model = small(**kind)
    assert isinstance(model.get_classifier(), nn.Linear)
    assert model.get_classifier() is model.backbone.get_classifier()


@torch.inference_mode()
def test_forward_intermediates(kind):
    model, x = lively(small(**kind)), faces(size_of(kind))
    final, maps = model.forward_intermediates(x, indices=2)
    same(final, model.forward_features(x))
    assert len(maps) == 2 and all(m.ndim == 4 for m in maps)
    alone = model.forward_intermediates(x, indices=2, intermediates_only=True)
    for ours, theirs in zip(maps, alone, strict=True):
        same(ours, theirs)
    fused = (model.forward_motion(x).fused_face - model.backbone_mean) / model.backbone_std
    for ours, theirs in zip(maps, model.backbone.forward_intermediates(fused, indices=2)[1], strict=True):
        same(ours, theirs)


@torch.inference_mode()
def test_pruned_model_keeps_its_intermediates(kind):
    model, x = lively(small(**kind)), faces(size_of(kind))
    expected = model.forward_intermediates(x, indices=[0], intermediates_only=True)
    before = sum(p.numel() for p in model.parameters())
    assert model.prune_intermediate_layers([0]) == [0]
    assert sum(p.numel() for p in model.parameters()) < before
    assert isinstance(model.get_classifier(), nn.Identity)
    for ours, theirs in zip(
        model.forward_intermediates(x, indices=[0], intermediates_only=True), expected, strict=True,
    ):
        same(ours, theirs)


@torch.inference_mode()
def test_features_only_gives_the_maps_it_announces(kind):
    model, x = small(**kind, features_only=True).eval(), faces(size_of(kind))
    maps = model(x)
    assert len(maps) == len(model.feature_info.channels()) > 1
    for features, channels, reduction in zip(
        maps, model.feature_info.channels(), model.feature_info.reduction(), strict=True,
    ):
        assert features.shape == (2, channels, *(side // reduction for side in x.shape[2:]))


@pytest.mark.parametrize("kwargs", [TINY["resnet"], TINY["vit"]], ids=["resnet", "vit"])
@torch.inference_mode()
def test_features_of_a_saved_model_at_chosen_indices(kwargs, tmp_path):
    model, x = lively(small(**kwargs)), faces()
    features = create_model(saved(model, tmp_path / "m"), pretrained=True, features_only=True, out_indices=(1, 3))
    assert list(features.feature_info.out_indices) == [1, 3]
    expected = model.forward_intermediates(x, indices=[1, 3], intermediates_only=True)
    for ours, theirs in zip(features.eval()(x), expected, strict=True):
        same(ours, theirs)


def test_features_only_hands_gradient_checkpointing_on():
    model = small(features_only=True)
    model.set_grad_checkpointing(True)
    assert model.model.grad_checkpointing and model.model.backbone.grad_checkpointing


@pytest.mark.parametrize(("feature_cls", "backbone"), [
    ("getter", "test_convnext"),  # which has four maps, one fewer than timm takes unless told
    ("hook", "test_resnet"),
    ("fx", "test_resnet"),
])
@torch.inference_mode()
def test_features_only_by_each_class_of_timm(feature_cls, backbone, tmp_path):
    model, x = lively(small(backbone)), faces()
    name = saved(model, tmp_path / "m")
    features = create_model(name, pretrained=True, features_only=True, feature_cls=feature_cls).eval()
    for ours, theirs in zip(features(x), model.forward_intermediates(x, intermediates_only=True), strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("coarse", [False, True])
def test_groups_are_generator_and_fusion_then_the_backbones(kind, coarse):
    model = small(**kind)
    groups = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    bare = group_parameters(model.backbone, model.backbone.group_matcher(coarse=coarse), reverse=True)
    assert groups == {
        name: bare[name.removeprefix("backbone.")] + 1 if name.startswith("backbone.") else 0
        for name, _ in model.named_parameters()
    }
    assert max(bare.values()) > 0


def test_layer_decay_scales_by_depth(kind):
    model = small(**kind)
    groups = param_groups_layer_decay(model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay())
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    names = dict(model.named_parameters())
    assert sum(len(g["params"]) for g in groups) == len(scale) == len(names)
    front = {scale[id(p)] for n, p in names.items() if not n.startswith("backbone.")}
    behind = {scale[id(p)] for n, p in names.items() if n.startswith("backbone.")}
    assert len(front) == 1 and max(front) < min(behind) and max(behind) == 1
    assert all(decay[id(names[name])] == 0 for name in model.no_weight_decay() & set(names))


def test_no_weight_decay_has_the_prefix_of_the_backbone():
    model = small("test_vit")
    assert {"backbone.pos_embed", "backbone.cls_token"} <= model.no_weight_decay() & set(dict(model.named_parameters()))
    assert all(name.startswith("backbone.") for name in model.no_weight_decay())
    assert small("test_resnet").no_weight_decay() == set()


# torch.fx, by which timm and torchvision take feature maps out of any model


@pytest.mark.parametrize("generator", ["paper", "lite", "basis"])
@pytest.mark.parametrize("train", [False, True])
def test_graph_of_the_model_is_the_model(generator, train):
    torch.manual_seed(0)
    options = dict(backbone="test_resnet", generator=generator, generator_width=4, generator_blocks=1)
    model = timm.create_model("fmpn", **options).train(train)
    train_nodes, eval_nodes = get_graph_node_names(model)
    graph = create_feature_extractor(model, None, train_nodes[-1:], eval_nodes[-1:]).train(train)
    x = torch.rand(2, 3, 33, 48)
    (traced,) = graph(x).values()
    torch.testing.assert_close(traced, model(x))
