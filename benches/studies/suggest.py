"""Labels that `gst-candle suggest` asks for against labels drawn by chance, on NEU: `make study-suggest`.

From the same few labelled pictures further ones are labelled step by step, drawn by chance or as a network says that is trained on those labelled
until then; each network is judged on the test set. Stopped, it goes on where it was: remove target/study after a change of the program. What
is labelled comes from train/ alone. `SEEDS=1` in the environment makes one pass. On a machine that others use: `nice -n 10`.
"""

import json
import os
import pathlib
import random
import shutil
import statistics

from study import STUDY, Study, main, number, table

SEEDS = int(os.environ.get("SEEDS", 3))
#: How each network is trained.
TRAINED = ["--steps", "300"]
#: Labelled pictures: at first, and more in each step; and the number of steps.
FIRST, STEP, STEPS = 24, 18, 5
#: Share of the labels that must do.
SHARE = 0.6


class Labels(Study):
    def __init__(self, program, data):
        super().__init__(program, data / "classify/neu")
        self.pictures = {folder.name: sorted(folder.iterdir()) for folder in sorted((self.data / "train").iterdir())}

    def links(self, name, pictures):
        """A new folder of links, below the pictures' classes."""
        folder = STUDY / name
        shutil.rmtree(folder, ignore_errors=True)
        for picture in pictures:
            (folder / picture.parent.name).mkdir(parents=True, exist_ok=True)
            (folder / picture.parent.name / picture.name).symlink_to(picture)
        return folder

    def next_by_chance(self, model, rest):
        return rest[:STEP]

    def next_suggested(self, model, rest):
        listed = self.output("suggest", model, self.links("suggest-rest", rest), "-n", str(STEP)).splitlines()
        return [pathlib.Path(os.path.realpath(line)) for line in listed]

    def curve(self, how, choose, seed):
        """Accuracy on the test set by the number of labelled pictures."""
        rng = random.Random(seed)
        labelled = [picture for of_class in self.pictures.values() for picture in rng.sample(of_class, FIRST // len(self.pictures))]
        rest = [picture for of_class in self.pictures.values() for picture in of_class if picture not in labelled]
        rng.shuffle(rest)
        found = {}
        for step in range(STEPS + 1):
            name = f"suggest-{how}-{seed}-{step}" if step else f"suggest-first-{seed}"
            model = self.trained(name, "classify", self.links(f"{name}-data", labelled), [*TRAINED, "--seed", str(seed + 1)])
            found[len(labelled)] = self.judged(name, model, [self.data])["accuracy"]
            print(name, len(labelled), found[len(labelled)], flush=True)
            chosen = STUDY / f"suggest-{how}-{seed}-{step}.next"
            if not chosen.exists():
                chosen.write_text(json.dumps([str(picture.resolve()) for picture in choose(model, rest)]))
            taken = set(json.loads(chosen.read_text()))
            labelled += [picture for picture in rest if str(picture.resolve()) in taken]
            rest = [picture for picture in rest if str(picture.resolve()) not in taken]
        return found


def suggest(study):
    """Accuracy on neu's test set by the number of labelled pictures, mean of the seeds, and the least and the largest."""
    ways = {"chance": study.next_by_chance, "suggest": study.next_suggested}
    curves = {how: [study.curve(how, choose, seed) for seed in range(SEEDS)] for how, choose in ways.items()}
    counts = [FIRST + STEP * step for step in range(STEPS + 1)]

    def all_of(how, count):
        return [curve[count] for curve in curves[how]]

    def cell(how, count):
        values = all_of(how, count)
        return f"{number(statistics.mean(values))} ({number(min(values))} to {number(max(values))})"

    rows = [[str(count), *(cell(how, count) for how in ways)] for count in counts]
    said = []
    for count in counts:
        most = max((other for other in counts if other <= SHARE * count), default=None)
        if most is not None:
            fewer, more = (statistics.mean(all_of(*of)) for of in (("suggest", most), ("chance", count)))
            said.append(f"{most} labels that were asked for: {fewer:.3f}; {count} drawn by chance: {more:.3f}.")
    return table(["labelled", "drawn by chance", "asked for"], rows) + "\n\n" + "\n".join(said)


if __name__ == "__main__":
    main(__doc__, Labels, (suggest,))
