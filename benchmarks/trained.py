"""A reference network whose values look trained: no statistic is zero or one, and signals keep their size."""

from pathlib import Path

import torch
from torch import nn

from benchmarks.reference import ReferenceFMPN, reference_fmpn


def trained_reference(backbone: str, num_classes: int = 7) -> ReferenceFMPN:
    """A network of random weights and random statistics, in evaluation mode."""
    with torch.device("meta"):
        reference = reference_fmpn(backbone, num_classes)
    reference.to_empty(device="cpu")
    torch.manual_seed(0)
    for name, module in reference.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose2d):
                fan_in = module.in_channels * 4  # of 16 weights, stride 2 leaves an output four
            nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.normal_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            scale = 0.2 if name.endswith("bn3") else 1.0  # what ResNet's many blocks add up would grow without end
            nn.init.uniform_(module.weight, 0.5 * scale, 1.5 * scale)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.0, 0.5)
    return reference.eval()


def write_checkpoint(reference: ReferenceFMPN, folder: Path) -> dict[str, str]:
    """Write the three files of a network.

    Returns:
        Their paths by option, ``fmg``, ``pfn`` and ``cn``.
    """
    files = {"fmg": "300_net_resface.pth", "pfn": "200_net_fusion.pth", "cn": "200_net_cls.pth"}
    for option, name in files.items():
        torch.save(getattr(reference, option).state_dict(), folder / name)
    return {option: str(folder / name) for option, name in files.items()}
