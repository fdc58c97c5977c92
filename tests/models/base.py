"""What timm's contract asks of every model: tests for a model's own test class to inherit."""

import copy
import json
import pickle

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from fmpn_timm.hub import save_model

CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


def run_onnx(module: nn.Module, x: torch.Tensor, names: list[str], path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        module, (x,), str(path), dynamo=True, verbose=False,
        input_names=["face"], output_names=names, dynamic_shapes=({0: batch},),
    )
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


class ModelTests:
    """Inherit, name the model and a small variant of it."""

    name: str
    options: dict = {}  # of create_model, that make it small
    size: int = 32

    def create(self, **kwargs) -> nn.Module:
        torch.manual_seed(0)
        return timm.create_model(self.name, **{**self.options, **kwargs})

    def faces(self, batch: int = 2, chans: int = 3) -> torch.Tensor:
        """Faces whose differences survive the pooling of an untrained network."""
        coarse = torch.rand(batch, chans, 4, 4, generator=torch.Generator().manual_seed(batch)) * 2 - 1
        return nn.functional.interpolate(coarse, (self.size, self.size), mode="bilinear", align_corners=False)

    def lively(self, **kwargs) -> nn.Module:
        """In evaluation mode, with batch norm statistics of faces and no part that does nothing yet."""
        model = self.create(**kwargs)
        for n, p in model.named_parameters():
            if n.endswith("gamma"):
                nn.init.ones_(p)
        for _ in range(10):
            model(self.faces(8, model.in_chans))
        return model.eval()

    def saved(self, model: nn.Module, folder) -> str:
        save_model(model, folder, CLASSES[: model.num_classes], self.size, 0.9)
        return f"local-dir:{folder}"

    @torch.inference_mode()
    def test_logits_depend_on_the_face(self):
        """Else the comparisons below could not fail."""
        logits = self.lively()(self.faces(3))
        assert logits.shape == (3, 7) and (logits[0] - logits[1]).abs().max() > 0.01

    @torch.inference_mode()
    def test_forwards_agree(self):
        model, x = self.lively(), self.faces()
        features = model.forward_features(x)
        embeddings = model.forward_head(features, pre_logits=True)
        assert features.shape[:2] == (2, model.num_features) and embeddings.shape == (2, model.head_hidden_size)
        for logits in (model.forward_head(features), model.get_classifier()(embeddings)):
            torch.testing.assert_close(logits, model(x))

    @torch.inference_mode()
    def test_reset_classifier(self):
        model, x = self.lively(), self.faces()
        embeddings = model.forward_head(model.forward_features(x), pre_logits=True)
        model.reset_classifier(5)
        assert model.num_classes == 5 and model(x).shape == (2, 5)
        assert not any(module.training for module in model.modules())
        model.reset_classifier(0)
        assert model.num_classes == 0
        torch.testing.assert_close(model(x), embeddings)
        torch.testing.assert_close(self.create(num_classes=0).eval()(x).shape, embeddings.shape)

    def test_every_parameter_gets_a_gradient_from_the_logits_alone(self):
        model = self.lively().train()
        model(self.faces(4)).square().sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
        ours = [n for n, _ in model.named_parameters() if not n.startswith("backbone.")]  # others may start with zeros
        assert [n for n in ours if not model.get_parameter(n).grad.any()] == []

    @torch.inference_mode()
    def test_intermediates(self):
        model, x = self.lively(), self.faces()
        final, maps = model.forward_intermediates(x)
        torch.testing.assert_close(final, model.forward_features(x))
        assert len(maps) == len(model.feature_info)
        for info, features in zip(model.feature_info, maps, strict=True):
            assert features.shape[1] == info["num_chs"]
            assert model.get_submodule(info["module"]) is not None
        some = model.forward_intermediates(x, indices=[0, -1], intermediates_only=True)
        for ours, expected in zip(some, (maps[0], maps[-1]), strict=True):
            torch.testing.assert_close(ours, expected)

    @torch.inference_mode()
    def test_features_only(self, tmp_path):
        model, x = self.lively(), self.faces()
        name = self.saved(model, tmp_path / "m")
        features = timm.create_model(name, pretrained=True, features_only=True, out_indices=(0, 1)).eval()
        expected = model.forward_intermediates(x, indices=[0, 1], intermediates_only=True)
        assert len(features.feature_info.channels()) == 2
        for ours, theirs, channels in zip(features(x), expected, features.feature_info.channels(), strict=True):
            torch.testing.assert_close(ours, theirs)
            assert ours.shape[1] == channels
        size = [sum(p.numel() for p in m.parameters()) for m in (features, model)]
        assert size[0] < size[1]

    def test_groups_go_from_the_input_to_the_classifier(self):
        model = self.create()
        groups = group_parameters(model, model.group_matcher(), reverse=True)
        assert set(groups) == {n for n, _ in model.named_parameters()} and len(set(groups.values())) > 3
        first, last = model.pretrained_cfg["first_conv"], model.pretrained_cfg["classifier"]
        assert groups[f"{first}.weight"] == min(groups.values()) and groups[f"{last}.weight"] == max(groups.values())
        decayed = param_groups_layer_decay(model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay())
        assert len({group["lr_scale"] for group in decayed}) == len(set(groups.values()))

    def test_gradient_checkpointing_changes_nothing(self):
        plain = self.lively()
        saving = copy.deepcopy(plain)
        saving.set_grad_checkpointing()
        gradients = []
        for model in (plain, saving):
            logits = model(self.faces())
            logits.square().sum().backward()
            gradients.append([logits, *(p.grad for p in model.parameters())])
        for ours, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * (1 + ours.abs().max().item()))

    def test_device_and_dtype(self):
        model = self.create(device="meta", dtype=torch.bfloat16)
        tensors = [*model.parameters(), *model.buffers()]
        assert {t.device.type for t in tensors} == {"meta"}
        assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.bfloat16}
        x = torch.empty(2, 3, self.size, self.size, device="meta", dtype=torch.bfloat16)
        assert model.eval()(x).dtype == torch.bfloat16

    def test_unknown_arguments_are_refused(self):
        with pytest.raises(TypeError, match="no_such_argument"):
            self.create(no_such_argument=1, device="meta")

    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"])
    @torch.inference_mode()
    def test_round_trip(self, tmp_path, memory_format):
        model, x = self.lively().to(memory_format=memory_format), self.faces()
        loaded = timm.create_model(self.saved(model, tmp_path / "m"), pretrained=True).eval()
        assert loaded.pretrained_cfg["label_names"] == list(CLASSES)
        torch.testing.assert_close(loaded(x), model.to(memory_format=torch.contiguous_format)(x), rtol=0, atol=0)
        twin = pickle.loads(pickle.dumps(loaded))
        torch.testing.assert_close(twin(x), loaded(x), rtol=0, atol=0)

    @torch.inference_mode()
    def test_other_number_of_classes_drops_only_the_classifier(self, tmp_path):
        model, x = self.lively(), self.faces()
        name = self.saved(model, tmp_path / "m")
        assert timm.create_model(name, pretrained=True, num_classes=3).eval()(x).shape == (2, 3)
        embeddings = timm.create_model(name, pretrained=True, num_classes=0).eval()(x)
        torch.testing.assert_close(embeddings, model.forward_head(model.forward_features(x), pre_logits=True))

    @torch.inference_mode()
    def test_changed_classifier_survives_a_round_trip(self, tmp_path):
        model, x = self.lively(), self.faces()
        model.reset_classifier(4)
        loaded = timm.create_model(self.saved(model, tmp_path / "m"), pretrained=True).eval()
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)

    @torch.inference_mode()
    def test_grey_faces(self, tmp_path):
        model = self.lively(in_chans=1)
        loaded = timm.create_model(self.saved(model, tmp_path / "m"), pretrained=True).eval()
        assert loaded.in_chans == 1
        assert json.loads((tmp_path / "m/config.json").read_text())["pretrained_cfg"]["input_size"][0] == 1
        torch.testing.assert_close(loaded(self.faces(chans=1)), model(self.faces(chans=1)), rtol=0, atol=0)


class ExportTests:
    """To inherit beside ``ModelTests``: what people do with a model before deployment. They take seconds."""

    @torch.inference_mode()
    def test_graph_capture_has_no_breaks(self):
        torch.compiler.reset()
        model, x = self.lively(), self.faces()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)

    @torch.inference_mode()
    def test_exported_program_takes_any_batch(self, tmp_path):
        model = self.lively()
        program = torch.export.export(model, (self.faces(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, tmp_path / "model.pt2")
        loaded = torch.export.load(tmp_path / "model.pt2").module()
        for batch in (1, 3):
            torch.testing.assert_close(loaded(self.faces(batch)), model(self.faces(batch)), rtol=1e-5, atol=1e-5)

    @torch.inference_mode()
    def test_onnx_equals_eager_at_any_batch_size(self, tmp_path):
        model = self.lively()
        session = run_onnx(model, self.faces(), ["logits"], tmp_path / "model.onnx")
        for batch in (1, 3):
            (logits,) = session.run(None, {"face": self.faces(batch).numpy()})
            torch.testing.assert_close(torch.from_numpy(logits), model(self.faces(batch)), rtol=1e-4, atol=1e-4)
