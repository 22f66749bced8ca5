"""What classifiers of this program reach, and how they tell what they do not know: `make study-classify`.

Trains every row of the tables below (or of those that are named) that has no model yet in target/study, judges it on the test set, and
writes each table to target/study/NAME.md. Hours; stopped, it goes on where it was: remove target/study after a change of the program. Nothing
is chosen by the test set: it is only reported.
"""

import os
import shutil
import statistics

from study import STUDY, Study, main, number, table

SEEDS = range(1, 6)
TINY = ["--arch", "tiny", "--size", "128x128", "--steps", "1500"]
LENET = ["--arch", "lenet", "--steps", "1500"]
#: Network, data and options of each row; the last ones are trained in bf16 where the CPU is made for it.
NETWORKS = {
    "tiny": ("neu", TINY),
    "lenet": ("digits", LENET),
    "resnet20": ("cifar10_small", ["--arch", "resnet20", "--epochs", "30"]),
    "inception": ("cifar10_small", ["--arch", "inception", "--size", "32x32", "--epochs", "25"]),
    "resnet18": ("cifar10_small", ["--arch", "resnet18", "--batch", "64", "--epochs", "20", "--precision", "bf16"]),
}
#: Of those that never see some of the classes of neu.
KNOWS_LESS = ["--arch", "tiny", "--size", "128x128", "--steps", "600"]
#: Of pictures that a class is taught by.
SHOTS = 5
DRAWS = 5


class Classes(Study):
    def tested(self, name, data, options, *more):
        """The figures of a classifier trained with these options on a set."""
        data = self.data / "classify" / data
        return self.judged(name, self.trained(name, "classify", data, options), [data], *more)

    def without(self, names):
        """The training pictures of `neu` but those of these classes; made of links."""
        folder = STUDY / ("neu-without-" + "-".join(names))
        folder.mkdir(exist_ok=True)
        for source in self.data.joinpath("classify/neu/train").iterdir():
            link = folder / source.name
            if source.name not in names and not link.is_symlink():
                os.symlink(source, link)
        return folder

    def knows_all_but(self, *names):
        """A `tiny` that never saw these classes of `neu`."""
        return self.trained("tiny-without-" + "-".join(names), "classify", self.without(names), KNOWS_LESS)

    def classes(self):
        return sorted(folder.name for folder in self.data.joinpath("classify/neu/train").iterdir())


def networks(study):
    """Each network. Worsened: with camera noise, blur and exposure added by `eval --degrade`; ms of a picture of its own size."""
    rows = []
    for name, (data, options) in NETWORKS.items():
        clean = study.tested(f"{name}-1", data, options)
        worse = study.judged(f"{name}-1-worse", STUDY / f"{name}-1.safetensors", [study.data / "classify" / data], "--degrade")
        card = study.card(f"{name}-1")
        bench = study.bench(f"{name}-1")
        seconds = int(STUDY.joinpath(f"{name}-1.seconds").read_text())
        work = f"{card['parameters'] / 1000:.0f} k", f"{multiply_adds(card) / 1e6:.1f} M", f"{bench['ms']:.2f} ({bench['precision']})"
        found = number(clean["accuracy"]), number(worse["accuracy"]), number(clean["ece"]), f"{seconds / 60:.0f} min"
        rows.append([f"`{name}`", data, *work, *found])
    return table(["network", "data", "parameters", "multiply-adds", "ms", "accuracy", "worsened", "ECE", "training"], rows)


def multiply_adds(card):
    """Of a picture; the field's name ends with its size."""
    return next(value for name, value in card.items() if name.startswith("multiply_adds_"))


def class_seeds(study):
    """Five seeds of `tiny` on neu and of `lenet` on digits."""
    rows = []
    for name in ("tiny", "lenet"):
        data, options = NETWORKS[name]
        found = [study.tested(f"{name}-{seed}", data, [*options, "--seed", str(seed)]) for seed in SEEDS]
        for column in ("accuracy", "ece"):
            values = [one[column] for one in found]
            mean = f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
            rows.append([f"`{name}`", data, column, *(f"{value:.4f}" for value in values), mean])
    return table(["network", "data", "", *map(str, SEEDS), "mean ± deviation"], rows)


def unknown(study):
    """One class of neu left out of the training of `tiny`: how many of its test pictures are called unknown."""
    rows = []
    for name in study.classes():
        found = study.judged(f"unknown-{name}", study.knows_all_but(name), [study.data / "classify/neu"])
        columns = "unknown_found_at_5", "unknown_auroc", "unknown_found", "false_unknown_rate", "accuracy"
        rows.append([name, *(number(found[column]) for column in columns)])
    head = ["left out", "found at 5 % false unknown", "AUROC", "found at the model's limits", "false unknown there", "accuracy of the known"]
    return table(head, rows)


def few(study):
    """Classes of neu taught by five pictures each to a `tiny` that never saw them; accuracy on the test pictures, mean of five draws."""
    rows = []
    names = study.classes()
    for new in [names[:2], names[2:4], names[4:], names[:3], names[3:]]:
        model = study.knows_all_but(*new)
        found = [taught(study, model, new, draw) for draw in range(DRAWS)]
        rows.append([", ".join(new), *(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" for values in zip(*found))])
    return table(["new classes", "accuracy of the new", "of all six"], rows)


def taught(study, model, new, draw):
    """Accuracy of the new classes and of all, of a model that is taught them by other pictures each draw."""
    name = f"taught-{'-'.join(new)}-{draw}"
    shots = STUDY / name
    train, test = (study.data / "classify/neu" / split for split in ("train", "test"))
    for label in new:
        folder = shots / label
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pictures = sorted(train.joinpath(label).iterdir())
        for picture in pictures[draw :: len(pictures) // SHOTS][:SHOTS]:
            os.symlink(picture, folder / picture.name)
    target = STUDY / f"{name}.safetensors"
    if not target.exists():
        study.output("teach", model, shots, "-o", target)
    alone = STUDY / f"test-{'-'.join(new)}"
    alone.mkdir(exist_ok=True)
    for label in new:
        if not (alone / label).is_symlink():
            (alone / label).symlink_to(test / label)
    return tuple(study.judged(f"{name}-{which.name}", target, [which])["accuracy"] for which in (alone, test))


if __name__ == "__main__":
    main(__doc__, Classes, (networks, class_seeds, unknown, few))
