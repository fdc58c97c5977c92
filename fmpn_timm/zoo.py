"""The named models: what there is, how large they are, and where their trained weights are."""

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from .models._published import weights_source

__all__ = ["CHECKOUT", "list_zoo", "markdown_table", "model_size", "weights_folder"]

#: Of a checkout of the repository: one folder ``<arch>.<tag>`` for each trained model, exactly as it is published.
CHECKOUT = Path(__file__).resolve().parent.parent / "hub"


def weights_folder(name: str) -> str | None:
    """The folder of a trained model in the checkout; None if there is none with weights, or no checkout.

    Args:
        name: ``arch.tag``.
    """
    folder = CHECKOUT / name
    complete = all((folder / file).is_file() for file in ("config.json", "model.safetensors"))
    return str(folder) if complete else None


def list_zoo() -> list[dict[str, Any]]:
    """All models this package registers with timm.

    Returns:
        For each name, or each of its tags: ``name``, ``input_size`` (channels, height, width), ``parameters``,
        ``gmacs`` (multiply-accumulates of one face, in 10^9), ``hf_hub_id`` (None if no weights are declared) and
        ``weights``: where they are, ``checkout``, ``cache`` (of the Hub), ``Hub`` (to be fetched) or ``none``.
    """
    names = timm.list_models(include_tags=True)
    ours = [name for name in names if timm.model_entrypoint(name).__module__.startswith(__package__ + ".")]
    sizes, rows = {}, []
    for name in ours:
        arch, cfg = name.split(".", 1)[0], timm.get_pretrained_cfg(name)
        if arch not in sizes:
            sizes[arch] = _size(arch, cfg.input_size)
        rows.append({"name": name, "input_size": cfg.input_size, **sizes[arch], "hf_hub_id": cfg.hf_hub_id,
                     "weights": _at_hand(name)})
    return rows


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The models as the README shows them: the same on every machine."""
    lines = ["| name | input | parameters, M | GMACs | weights |", "|---|---|---|---|---|"]
    for row in rows:
        side, hub = row["input_size"][-1], row["hf_hub_id"]
        weights = f"[{hub}](https://huggingface.co/{hub})" if hub else ""
        figures = f"{row['parameters'] / 1e6:.2f} | {row['gmacs']:.2f}"
        lines.append(f"| `{row['name']}` | {side} | {figures} | {weights} |")
    return "\n".join(lines)


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


def _size(arch: str, input_size: tuple[int, int, int]) -> dict[str, Any]:
    return model_size(timm.create_model(arch, device="meta").eval(), input_size)


def _at_hand(name: str) -> str:
    source = weights_source(name)
    if source is None:
        return "none"
    if source.startswith("local-dir:"):
        return "checkout"
    cached = try_to_load_from_cache(source.removeprefix("hf-hub:"), "model.safetensors")
    return "cache" if isinstance(cached, str) else "Hub"
