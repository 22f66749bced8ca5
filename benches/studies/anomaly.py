"""What anomaly detectors of this program reach on the magnetic tiles, and what each choice is worth: `make study-anomaly`.

Trains every row of the tables below (or of those that are named) that has no model yet in target/study, judges it on the test set, and
writes each table to target/study/NAME.md. Hours; stopped, it goes on where it was: remove target/study after a change of the program. Nothing
is chosen by the test set: it is only reported.
"""

import json
import statistics

from study import STUDY, Study, main, number, table

STEPS = 1200
SEEDS = range(1, 6)
GOOD = (20, 50, 200)
CODES = (16, 64, 512)
RATES = (0.1, 0.05, 0.02, 0.01)
DEFECTS = 20
#: Networks that restore pictures see each of them whole, at one size, eight a step: about as many pixels as sixteen parts of 128x128.
RESTORING = ["--size", "256x256", "--batch", "8"]
#: What each choice of the default is worth: the same run without it.
CHOICES = {
    "as it is": [],
    "depth 3": ["--depth", "3"],
    "width 8": ["--width", "8"],
    "the largest pixel is the score": ["--pool", "1"],
    "no surroundings": ["--context", "1"],
    "AdamW, not Muon": ["--optimizer", "adamw", "--lr", "1e-3"],
}
COLUMNS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AU-PRO",
    "false_alarm_rate": "false alarms",
    "miss_rate": "missed",
}


class Tiles(Study):
    def __init__(self, program, data):
        super().__init__(program, data)
        self.tiles = data / "anomaly/magnetic_tile"

    def model(self, name, options, data=None):
        """A detector trained with these options."""
        common = ["--steps", str(STEPS), "--false-alarm-rate", "0.02"]
        return self.trained(name, "anomaly", data or self.tiles, [*common, *options])

    def tested(self, name, options, data=None, test=None):
        """Those of such a detector on the test set."""
        return self.judged(name, self.model(name, options, data), test or [self.tiles])


def figures(found):
    return [number(found[column]) for column in COLUMNS]


def seeds(study):
    """Five seeds. 1200 steps each."""
    found = [study.tested(f"seed-{seed}", ["--seed", str(seed)]) for seed in SEEDS]
    rows = [[str(seed), *figures(one)] for seed, one in zip(SEEDS, found)]
    values = [[one[column] for one in found] for column in COLUMNS]
    rows.append(["mean ± deviation", *(f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in values)])
    return table(["seed", *COLUMNS.values()], rows)


def pictures(study):
    """How many good pictures. 1200 steps each."""
    every = list(study.tiles.joinpath("train/good").iterdir())
    rows = []
    for count in GOOD:
        folder = study.some(f"good-{count}", every, count)
        rows.append([str(count), *figures(study.tested(f"pictures-{count}", [], folder))])
    rows.append([str(len(every)), *figures(study.tested("seed-1", []))])
    return table(["good pictures", *COLUMNS.values()], rows)


def choices(study):
    """What each choice is worth, on made defects and on the test set. 1200 steps each."""
    rows = []
    for label, options in CHOICES.items():
        name = "seed-1" if not options else "choice" + "".join(options)
        found = study.tested(name, options)
        metrics = study.card(name)["training"]["metrics"]
        made = [number(metrics.get(key)) for key in ("val_auroc_synthetic", "val_pixel_auroc_synthetic")]
        rows.append([label, *made, *figures(found)[:3]])
    return table(["", "made defects, image AUROC", "pixel AUROC", *list(COLUMNS.values())[:3]], rows)


def codes(study):
    """The autoencoder, and the size of its code. 1200 steps each."""
    rows = [["unet", *figures(study.tested("seed-1", []))]]
    for code in CODES:
        options = ["--arch", "autoencoder", "--code-size", str(code), *RESTORING]
        rows.append([f"autoencoder, code of {code}", *figures(study.tested(f"autoencoder-{code}", options))])
    return table(["network", *COLUMNS.values()], rows)


def restorers(study):
    """Networks that restore the picture. 1200 steps each."""
    rows = [["unet", *figures(study.tested("seed-1", []))]]
    rows += [[arch, *figures(study.tested(arch, ["--arch", arch, *RESTORING]))] for arch in ("fair", "fair-seg")]
    return table(["network", *COLUMNS.values()], rows)


def defects(study):
    """What a few real defects are worth. The test set is the one that belongs to these defects, and good tiles. 1200 steps each."""
    labelled = study.data / "segment/magnetic_tile"
    folder = STUDY / f"defects-{DEFECTS}"
    images = study.some(f"{folder.name}/images", labelled.joinpath("train/images").iterdir(), DEFECTS)
    study.some(f"{folder.name}/masks", [labelled / "train/masks" / f"{image.stem}.png" for image in images.iterdir()], DEFECTS)
    test = [labelled / "test", study.tiles / "test/good"]
    without = study.model("seed-1", [])
    found = study.judged("seed-1-labelled", without, test)
    with_some = study.tested("defects", ["--defects", str(folder)], test=test)
    rows = [["none", *figures(found)], [str(DEFECTS), *figures(with_some)]]
    return table(["real defects", *COLUMNS.values()], rows)


def rates(study):
    """What a rate of false alarms costs in misses, mean of the seeds. 1200 steps each."""
    rows = []
    models = [study.model(f"seed-{seed}", ["--seed", str(seed)]) for seed in SEEDS]
    scores = []
    for model in models:
        scored = {}
        for folder in sorted(study.tiles.joinpath("test").iterdir()):
            lines = study.output("run", model, folder, "-o", "-").splitlines()
            scored.setdefault(folder.name == "good", []).extend(json.loads(line)["score"] for line in lines)
        scores.append(scored)
    for rate in RATES:
        flagged, missed = [], []
        for model, scored in zip(models, scores):
            threshold = study.card(model.stem)["calibration"]["threshold_at_rate"][str(rate)]
            flagged.append(statistics.mean(score >= threshold for score in scored[True]))
            missed.append(statistics.mean(score < threshold for score in scored[False]))
        each = [f"{statistics.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for v in (flagged, missed)]
        rows.append([str(rate), *each])
    return table(["rate asked for", "false alarms", "missed"], rows)


if __name__ == "__main__":
    main(__doc__, Tiles, (seeds, rates, pictures, defects, codes, choices, restorers))
