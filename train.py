"""Train FMPN, or one of its baselines, on one CPU, one GPU or many machines.

    python train.py                                              # drawn faces, a few minutes on two CPU cores
    accelerate launch train.py --config ferplus --root DIR       # FERPlus, a modern recipe
    accelerate launch train.py --config paper --dataset folder --root DIR --arm fmpn
    python train.py --arm cnn --name baseline                    # the backbone alone
    python train.py --name drawn --resume auto                   # go on after an interruption

Every field of ``fmpn_timm.training.TrainConfig`` is an option; ``--help`` lists them.
"""

from fmpn_timm.cli import train_main

if __name__ == "__main__":
    train_main(prog="train.py")
