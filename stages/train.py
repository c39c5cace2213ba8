"""Stage train: a preset trained on the gated samples, best checkpoint by validation gIoU."""

from sim4seg.config.params import Params
from sim4seg.training.relaunch import relaunch
from stages.entry import run


def main(params: Params) -> None:
    """Train with the ``train`` section; torch is imported late so that a mistake in params.yaml shows at once."""
    relaunch("stages.train")
    from sim4seg.training.train import train
    from sim4seg.training.train_paths import TrainPaths

    train(params.base.seed, params.train, TrainPaths())


if __name__ == "__main__":
    run("train", main)
