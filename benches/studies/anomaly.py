"""What anomaly detectors of this program reach on the magnetic tiles, and what each choice is worth: `make study-anomaly`.

Trains every row of the tables below (or of those that are named) that has no model yet in target/study, judges it on the test set, and
writes each table to target/study/NAME.md. Hours; stopped, it goes on where it was: remove target/study after a change of the program. Nothing
is chosen by the test set: it is only reported.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
STUDY = HERE / "target/study"
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


class Study:
    def __init__(self, program, data):
        self.program, self.data = program, data
        self.tiles = data / "anomaly/magnetic_tile"
        STUDY.mkdir(parents=True, exist_ok=True)

    def output(self, *arguments):
        return subprocess.run([self.program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout

    def trained(self, name, options, data=None):
        """The model file; trained if it is not there."""
        model = STUDY / f"{name}.safetensors"
        if not model.exists():
            command = ["train", "anomaly", data or self.tiles, "-o", model, "--steps", str(STEPS), "--false-alarm-rate", "0.02"]
            if (STUDY / f"{model.name}.ckpt").exists():
                command.append("--resume")
            print(f"{name}:", *options, flush=True)
            self.output(*command, *options)
        return model

    def judged(self, name, options, data=None, test=None):
        """The figures of `eval` on the test set."""
        figures = STUDY / f"{name}.json"
        if not figures.exists():
            model = self.trained(name, options, data)
            figures.write_text(self.output("eval", model, *(test or [self.tiles]), "--json", "-"))
        return json.loads(figures.read_text())

    def card(self, name):
        return json.loads(self.output("info", STUDY / f"{name}.safetensors", "--json", "-"))

    def some(self, name, pictures, count):
        """A folder with `count` of these pictures, spread over all of them; made of links."""
        folder = STUDY / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture in spread(pictures, count):
            link = folder / picture.name
            if not link.is_symlink():
                os.symlink(picture, link)
        return folder


def spread(things, count):
    every = sorted(things)
    return [every[i * len(every) // count] for i in range(count)]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def number(value):
    return "" if value is None else f"{value:.3f}"


def figures(found):
    return [number(found[column]) for column in COLUMNS]


def seeds(study):
    """Five seeds."""
    found = [study.judged(f"seed-{seed}", ["--seed", str(seed)]) for seed in SEEDS]
    rows = [[str(seed), *figures(one)] for seed, one in zip(SEEDS, found)]
    values = [[one[column] for one in found] for column in COLUMNS]
    rows.append(["mean ± deviation", *(f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in values)])
    return table(["seed", *COLUMNS.values()], rows)


def pictures(study):
    """How many good pictures."""
    every = list(study.tiles.joinpath("train/good").iterdir())
    rows = []
    for count in GOOD:
        folder = study.some(f"good-{count}", every, count)
        rows.append([str(count), *figures(study.judged(f"pictures-{count}", [], folder))])
    rows.append([str(len(every)), *figures(study.judged("seed-1", []))])
    return table(["good pictures", *COLUMNS.values()], rows)


def choices(study):
    """What each choice is worth, on made defects and on the test set."""
    rows = []
    for label, options in CHOICES.items():
        name = "seed-1" if not options else "choice" + "".join(options)
        found = study.judged(name, options)
        metrics = study.card(name)["training"]["metrics"]
        made = [number(metrics.get(key)) for key in ("val_auroc_synthetic", "val_pixel_auroc_synthetic")]
        rows.append([label, *made, *figures(found)[:3]])
    return table(["", "made defects, image AUROC", "pixel AUROC", *list(COLUMNS.values())[:3]], rows)


def codes(study):
    """The autoencoder, and the size of its code."""
    rows = [["unet", *figures(study.judged("seed-1", []))]]
    for code in CODES:
        options = ["--arch", "autoencoder", "--code-size", str(code), *RESTORING]
        rows.append([f"autoencoder, code of {code}", *figures(study.judged(f"autoencoder-{code}", options))])
    return table(["network", *COLUMNS.values()], rows)


def restorers(study):
    """Networks that restore the picture."""
    rows = [["unet", *figures(study.judged("seed-1", []))]]
    rows += [[arch, *figures(study.judged(arch, ["--arch", arch, *RESTORING]))] for arch in ("fair", "fair-seg")]
    return table(["network", *COLUMNS.values()], rows)


def defects(study):
    """What a few real defects are worth. The test set is the one that belongs to these defects, and good tiles."""
    labelled = study.data / "segment/magnetic_tile"
    folder = STUDY / f"defects-{DEFECTS}"
    images = study.some(f"{folder.name}/images", labelled.joinpath("train/images").iterdir(), DEFECTS)
    study.some(f"{folder.name}/masks", [labelled / "train/masks" / f"{image.stem}.png" for image in images.iterdir()], DEFECTS)
    test = [labelled / "test", study.tiles / "test/good"]
    without = study.trained("seed-1", [])
    found = STUDY / "seed-1-labelled.json"
    if not found.exists():
        found.write_text(study.output("eval", without, *test, "--json", "-"))
    with_some = study.judged("defects", ["--defects", str(folder)], test=test)
    rows = [["none", *figures(json.loads(found.read_text()))], [str(DEFECTS), *figures(with_some)]]
    return table(["real defects", *COLUMNS.values()], rows)


def rates(study):
    """What a rate of false alarms costs in misses, mean of the seeds."""
    rows = []
    models = [study.trained(f"seed-{seed}", ["--seed", str(seed)]) for seed in SEEDS]
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


PARTS = {part.__name__: part for part in (seeds, rates, pictures, defects, codes, choices, restorers)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=pathlib.Path, default=HERE / "target/release/gst-candle")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("parts", nargs="*", help=f"which tables, of {', '.join(PARTS)}; all, if none is named")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}: the tables are {', '.join(PARTS)}")
    study = Study(arguments.program.resolve(), arguments.data.resolve())
    for part in (PARTS[name] for name in arguments.parts or PARTS):
        found = f"{part.__doc__} {STEPS} steps each.\n\n{part(study)}\n"
        print(found, flush=True)
        STUDY.joinpath(f"{part.__name__}.md").write_text(found)


if __name__ == "__main__":
    main()
