"""The named models: what there is, how large they are, and where their trained weights are."""

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from .markdown import markdown_table
from .models._published import weights_source

__all__ = ["CHECKOUT", "PACKAGED", "list_zoo", "model_size", "models_table", "weights_folder"]

#: Of a checkout of the repository: one folder ``<arch>.<tag>`` for each trained model, exactly as it is published.
CHECKOUT = Path(__file__).resolve().parent.parent / "hub"
#: Of the package itself: the same, of the small model that is to work without a download.
PACKAGED = Path(__file__).resolve().parent / "weights"


def weights_folder(name: str) -> str | None:
    """The folder of a trained model in the checkout, else in the package; None if there is none with weights.

    Args:
        name: ``arch.tag``.
    """
    for folder in (CHECKOUT / name, PACKAGED / name):
        if all((folder / file).is_file() for file in ("config.json", "model.safetensors")):
            return str(folder)
    return None


def list_zoo() -> list[dict[str, Any]]:
    """All models this package registers with timm.

    Returns:
        For each architecture and each of its trained models (``arch.tag``): ``name``, ``input_size`` (channels,
        height, width), ``parameters``, ``gmacs`` (multiply-accumulates of one face, in 10^9), ``hf_hub_id`` (None if no
        weights are declared) and ``weights``: where they are, ``checkout``, ``package``, ``cache`` (of the Hub),
        ``Hub`` (to be fetched) or ``none``. Sizes are those of the trained model where its folder is on this machine,
        else the architecture's.
    """
    listed = timm.list_models(include_tags=True)  # an architecture's own name only where no tag is trained
    ours = [name for name in listed if timm.model_entrypoint(name).__module__.startswith(__package__ + ".")]
    sizes, rows = {}, []
    for name in dict.fromkeys(part for full in ours for part in (full.split(".", 1)[0], full)):
        folder = weights_folder(name)
        built = f"local-dir:{folder}" if folder else name.split(".", 1)[0]
        if built not in sizes:
            sizes[built] = _size(built)
        row = {"name": name, **sizes[built], "hf_hub_id": None, "weights": "none"}
        if name in ours:
            row |= {"hf_hub_id": timm.get_pretrained_cfg(name).hf_hub_id, "weights": _at_hand(name)}
        rows.append(row)
    return rows


def models_table(rows: list[dict[str, Any]]) -> str:
    """The models as docs/models.md shows them: the same on every machine."""
    lines = []
    for row in rows:
        hub = row["hf_hub_id"]
        places = ["in the package"] if (PACKAGED / row["name"]).is_dir() else []
        weights = ", ".join(places + ([f"[{hub}](https://huggingface.co/{hub})"] if hub else []))
        lines.append([f"`{row['name']}`", str(row["input_size"][-1]), f"{row['parameters'] / 1e6:.2f}",
                      f"{row['gmacs']:.2f}", weights])
    return markdown_table(["name", "input", "parameters, M", "GMACs", "weights"], lines)


def model_size(model: nn.Module, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """``parameters`` of a model, and ``gmacs``, the multiply-accumulates of one face in 10^9.

    Args:
        model: In evaluation mode; on any device, the meta device among them.
        input_size: Channels, height, width.
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.empty(1, *input_size, device=device))
    return {"parameters": sum(p.numel() for p in model.parameters()), "gmacs": counter.get_total_flops() / 2 / 1e9}


def _size(name: str) -> dict[str, Any]:
    model = timm.create_model(name, device="meta").eval()
    input_size = tuple(model.pretrained_cfg["input_size"])
    return {"input_size": input_size, **model_size(model, input_size)}


def _at_hand(name: str) -> str:
    source = weights_source(name)
    if source is None:
        return "none"
    if source.startswith("local-dir:"):
        return "package" if Path(source.removeprefix("local-dir:")).parent == PACKAGED else "checkout"
    cached = try_to_load_from_cache(source.removeprefix("hf-hub:"), "model.safetensors")
    return "cache" if isinstance(cached, str) else "Hub"
