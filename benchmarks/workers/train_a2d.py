"""Training throughput of a2d: `train_a2d.py SETTINGS.json`, see `rounds.py`."""

from pathlib import Path

import torch
from rounds import Rounds, read_settings

from a2d.config import Run
from a2d.distributed import worker
from a2d.section import load
from a2d.train import Files, Training


def main() -> None:
    """Train as `a2d train` does, for as long as the parent asks for rounds."""
    settings = read_settings()
    torch.set_num_threads(1)
    folder = Path(settings["folder"])
    files = Files(
        train=[Path(settings["tokens"])],
        valid=[tuple(map(Path, settings["valid"]))],
        vocabs=(Path(settings["spm"]), Path(settings["spm"])),
    )
    rounds = Rounds(settings["updates"])
    with worker() as me:
        training = Training(load(Run, folder / "config.yaml"), files, folder, me)
        training.resume()
        while True:
            for batches in training.updates():
                metrics = training.update(batches)
                training.log(metrics)
                rounds.update_done(int(metrics["tokens"]))


if __name__ == "__main__":
    main()
