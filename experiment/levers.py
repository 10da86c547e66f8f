"""What makes a reward model better: the rows and the table of experiment/levers.sh.

    levers.py rows DATA             of the rows of data/make_real.py those with a label from people or from a
                                    reply's place, and beside them: hh-scores.jsonl, the rows of hh alone;
                                    hh-pairs.jsonl, the same as pairs; few.jsonl, FEW rows
    levers.py table PAGE RUN...     a row a reward model, the first one first: what it says of held-out rows

RUN: a stage of experiment/levers.sh: reward_heldout.jsonl and refusals.jsonl, scored, and the run's folder.
"""

import pathlib
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "data"))
from make_real import read_rows, write_rows  # noqa: E402

FEW = 320

HEAD = """# What makes a reward model better?

`make levers` wrote this page. Each row is a reward model that was trained for about as long as the first,
where nothing else is said, and differs from it in one thing. All of them warm up for 10 updates and learn
from the rows of `make real` without the contrasts, which are the starting policy's own replies. The figures
are of rows that no model here was trained on, as in README.md: Spearman's correlation with people's labels;
of hh and oasst, how many pairs are right; of own prompts or others' and of refusals, how often the better of
two replies has the higher score (meaningfulness and safety added up, for refusals). The last row is one
standard error of a figure: what lies within one or two of them may be chance.
"""


def is_contrast(row):
    return " to " in row["source"]


def rows(data):
    for name in ("reward_train", "reward_heldout"):
        path = data / f"{name}.jsonl"
        write_rows(path, [row for row in read_rows(path) if not is_contrast(row)])
    train = read_rows(data / "reward_train.jsonl")
    write_rows(data / "few.jsonl", train[:FEW])
    hh = [row for row in train if row["source"] == "hh"]
    replies = {}
    for row in hh:
        replies.setdefault(row["group"], {})[row["labels"]["safety"]] = row
    write_rows(data / "hh-scores.jsonl", hh)
    write_rows(
        data / "hh-pairs.jsonl",
        [
            {"prompt": pair[1]["prompt"], "chosen": pair[1]["completion"], "rejected": pair[0]["completion"]}
            for pair in replies.values()
        ],
    )


WHAT = {
    "first": "nothing: as in configs/real.json, but for the updates",
    "rate-high": "rate 2.5e-3 instead of 1e-3",
    "rate-low": "rate 4e-4",
    "full": "all weights instead of an adapter, rate 1e-4",
    "layers-8": "the first 8 of 30 layers",
    "layers-30": "all 30 layers",
    "hh-scores": "the rows of hh alone, as scores 1 and 0",
    "hh-pairs": "the same rows as pairs (E56)",
    "seed": "another seed",
    "raw-labels": "labels as they are, not standardised",
    "few-once": f"{FEW} rows, once",
    "few-4": f"{FEW} rows, four times",
}


def scored(runs, name):
    """The rows of a file with the mean of the runs' scores."""
    files = [read_rows(run / f"{name}.jsonl") for run in runs]
    return [{**same[0], "scores": {label: statistics.fmean(row["scores"][label] for row in same)
                                   for label in same[0]["scores"]}} for same in zip(*files)]


def figures(*runs):
    """(what the figures are, the figures, their standard errors) of a reward model, or of the mean of
    several; a figure is None where it has no such label."""
    import real  # which needs the judges' environment

    held, told = scored(runs, "reward_heldout"), scored(runs, "refusals")
    labels = list(held[0]["scores"])
    asked, found, errors = [], [], []
    for label, source, _, some, figure, _, error in real.questions(held):
        name = "reward" if labels == ["reward"] and source == "hh" else label  # of pairs: it has no label
        asked.append(f"{label}: {source}")
        found.append(figure([row["scores"][name] for row in some]) if name in labels else None)
        errors.append(error)
    for split in ("unsafe", "lookalike"):
        some = [row for row in told if row["split"] == split and row["label"] != "partial"]
        right = [(row["label"] == "refusal") == (split == "unsafe") for row in some]
        asked.append(f"right about refusals: {split}")
        found.append(
            None if len(labels) == 1 else real.area(
                right, [row["scores"]["meaningfulness"] + row["scores"]["safety"] for row in some]))
        errors.append(0.5 / len(some) ** 0.5)
    return asked, found, errors


def table(page, runs):
    import real

    runs = {run.name.rsplit("-", 1)[0]: run for run in runs}
    lines = [(WHAT[name], [run]) for name, run in runs.items()]
    lines.append(("the mean of the first and of the one with another seed", [runs["first"], runs["seed"]]))
    body = []
    for what, some in lines:
        asked, found, errors = figures(*some)
        timing = [read_rows(run / "run" / "timing.jsonl")[-1] for run in some]
        steps, seconds = (sum(line[key] for line in timing) for key in ("step", "cpu_seconds"))
        body.append([what, str(steps), f"{seconds / 60:.1f}",
                     *("" if x is None else f"{x:.2f}" for x in found)])
    body.append(["one standard error", "", "", *(f"{x:.2f}" for x in errors)])
    page.write_text(f"""{HEAD}
{real.markdown(["what differs", "updates", "minutes of CPU", *asked], body)}
""", encoding="utf-8")


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "rows":
        rows(pathlib.Path(where))
    else:
        table(pathlib.Path(where), [pathlib.Path(run) for run in more])
