"""The paper's network by `fmpn_timm.inference.optimize`, against its plain form: same weights, eager, float32, NCHW.

    OMP_NUM_THREADS=1 python -m benchmarks.inference --json benchmarks/inference.json
    # what each step brings, and the answers of a trained model
    OMP_NUM_THREADS=1 python -m benchmarks.inference --steps --json benchmarks/inference-steps.json
    OMP_NUM_THREADS=1 python -m benchmarks.inference --agree DIR --faces FERPLUS --json benchmarks/agree.json
    # on a GPU, with a lite model beside
    python -m benchmarks.inference --device cuda --model fmpn_lite_inception_v3 --json benchmarks/inference-gpu.json

The baseline is `benchmarks/reference.py`, the authors' layers; the package's model holds its weights. Beside it stand
the bare backbone, which is the limit to come close to, and ONNX Runtime (float32, on a CPU, if it is installed). Timed
as `benchmarks/measure.py` says: with one thread by processor time, in turn; ratios are of one run.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torchvision import tv_tensors

import fmpn_timm  # noqa: F401 registers the models
from benchmarks.measure import interleaved, summary, write_json
from benchmarks.trained import trained_reference, write_checkpoint
from fmpn_timm.convert import load_checkpoint
from fmpn_timm.data.readers import read_faces
from fmpn_timm.data.transforms import model_transform
from fmpn_timm.hub import class_names
from fmpn_timm.inference.optimize import OptimizedModel, best_precision, optimize

SIZE = 299
PLAIN = "plain"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default="benchmarks/inference.json")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="measure the steps of optimize one by one, not compiled")
    parser.add_argument("--model", nargs="*", default=[], help="further models, such as fmpn_lite_inception_v3")
    parser.add_argument("--agree", help="folder of a trained model: compare its answers instead of timing")
    parser.add_argument("--faces", help="folder of FERPlus, for --agree")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--only", nargs="*", help="names of the variants to measure")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    if options.agree:
        write_json(options.json, agreement(options.agree, options.faces, not options.no_compile, options.device))
        return
    plain, model = (network.to(options.device) for network in paper_networks())
    variants = steps(model) if options.steps else engines(model, not options.no_compile)
    if options.only:
        variants = {name: run for name, run in variants.items() if name in options.only}
    for name in options.model:
        further = timm.create_model(name).to(options.device)
        variants[f"{name}, {best_precision(options.device)}"] = optimize(further, compile=not options.no_compile)
    results = {"size": SIZE, "device": str(options.device), "tolerance": {}, "batches": {}}
    faces = torch.rand(1, 3, SIZE, SIZE, device=options.device)
    expected = plain(faces)
    for name, run in variants.items():
        same_weights = not any(name.startswith(model) for model in options.model)
        if isinstance(run, OptimizedModel) and hasattr(run, "forward_motion") and same_weights:
            results["tolerance"][name] = differences(expected, run.forward_motion(faces))
            print(name, results["tolerance"][name], flush=True)
    for batch in options.batches:
        faces = torch.rand(batch, 3, SIZE, SIZE, device=options.device)
        runs = {name: partial(answer, run, faces) for name, run in {PLAIN: plain, **variants}.items()}
        results["batches"][batch] = summary(interleaved(runs, options.rounds), PLAIN, batch)
        write_json(options.json, results)  # a run that is stopped leaves what it has


def answer(run: Callable, faces: torch.Tensor) -> Any:
    """All that a network computes; what has no mask is called."""
    output = getattr(run, "forward_motion", run)(faces)
    if faces.is_cuda:
        torch.cuda.synchronize()
    return output


def paper_networks() -> tuple[nn.Module, nn.Module]:
    """The plain network, and the package's with its weights."""
    plain = trained_reference("inception_v3")
    with tempfile.TemporaryDirectory() as folder:
        return plain, load_checkpoint(**write_checkpoint(plain, Path(folder))).eval()


def engines(model: nn.Module, compiled: bool) -> dict[str, Callable]:
    device = next(model.parameters()).device
    low = best_precision(device)
    runs = {"optimize float32": optimize(model, "float32", compile=compiled)}
    if low != "float32":
        runs[f"optimize {low}"] = optimize(model, low, compile=compiled)
        runs[f"optimize {low}, backbone alone"] = optimize(model.backbone, low, compile=compiled)
    runtime = onnx_runtime(model) if device.type == "cpu" else None
    return {**runs, "ONNX Runtime float32": runtime} if runtime else runs


def steps(model: nn.Module) -> dict[str, Callable]:
    """Each step on top of the ones before."""
    module = sys.modules[optimize.__module__]  # the package hands out the function under the module's name
    replace, runs = module._replace_convolutions, {}
    for name, replaced, cl, precision, number in (
            ("folded", None, False, "float32", 10**6),
            ("+ channels-last", None, True, "float32", 10**6),
            ("+ a face a pass", None, True, "float32", 1),
            ("+ split convolution", False, True, "float32", 1),
            ("+ Winograd", True, True, "float32", 1),
            ("split, bf16", False, True, "bf16", 1),
    ):
        def replacement(m, winograd, replaced=replaced):
            if replaced is not None:
                replace(m, winograd and replaced)
        module._replace_convolutions = replacement
        runs[name] = optimize(model, precision, compile=False, channels_last=cl, faces_per_pass=number)
    module._replace_convolutions = replace
    return runs


def onnx_runtime(model: nn.Module) -> Callable | None:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "model.onnx")
        shapes = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(model, (torch.rand(2, 3, SIZE, SIZE),), path, dynamo=True, verbose=False,
                          input_names=["face"], output_names=["logits"], dynamic_shapes=shapes)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda faces: session.run(None, {"face": faces.numpy()})


def differences(expected: tuple, found: tuple) -> dict[str, float]:
    """Greatest differences of logits, mask and fused face; how far the logits reach."""
    logits, mask, fused = ((e - f).abs().max().item() for e, f in zip(expected, found, strict=True))
    return {"logits": logits, "mask": mask, "fused": fused, "largest logit": expected[0].abs().max().item()}


def agreement(folder: str, root: str, compiled: bool, device: torch.device) -> dict:
    """How the answers of a trained model change: differences, share of equal top classes, accuracy."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().to(device)
    faces = read_faces("ferplus", root, "valid")
    classes, transform = class_names(model), model_transform(model.pretrained_cfg)
    pictures = (tv_tensors.Image(torch.from_numpy(s.picture()).permute(2, 0, 1)) for s in faces.samples)
    pictures = torch.stack([transform(picture) for picture in pictures])
    labels = torch.tensor([classes.index(s.expression) for s in faces.samples])

    def answers(run: nn.Module) -> list[torch.Tensor]:
        outputs = (run.forward_motion(x.to(device)) for x in pictures.split(56))
        return [torch.cat([x.cpu() for x in parts]) for parts in zip(*outputs, strict=True)]

    expected = answers(model)
    results = {"faces": len(labels), "plain": {"accuracy": accuracy(expected[0], labels)}}
    for precision in ("float32", "bf16"):
        found = answers(optimize(model, precision, compile=compiled))
        results[precision] = {
            **differences(expected, found),
            "mean mask difference": (expected[1] - found[1]).abs().mean().item(),
            "same top class": (expected[0].argmax(1) == found[0].argmax(1)).float().mean().item(),
            "accuracy": accuracy(found[0], labels),
        }
    return results


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    main()
