"""Training: configuration, loop, checkpoints, metrics, pictures."""

from .config import TrainConfig, parse_config
from .loop import train

__all__ = ["TrainConfig", "parse_config", "train"]
