"""What makes a reward model better: the rows and the table of experiment/levers.sh.

    levers.py rows DATA             beside the rows of data/make_real.py: hh-scores.jsonl, the rows of hh
                                    alone, and hh-pairs.jsonl, the same as pairs
    levers.py table PAGE RUN...     a row a reward model, the first one first: what it says of held-out rows

RUN: a stage of experiment/levers.sh: reward_heldout.jsonl and refusals.jsonl, scored, and the run's folder.
"""

import json
import pathlib
import sys

HEAD = """# What makes a reward model better?

`make levers` wrote this page. Each row is a reward model that was trained for about as long as the first and
differs from it in one thing. The figures are of rows that no model here was trained on, as in README.md:
Spearman's correlation with people's labels; of hh and oasst, how many pairs are right; of own prompts or
others' and of refusals, how often the better of two replies has the higher score (meaningfulness and safety
added up, for refusals). The last row is one standard error of a figure: what lies within one or two of them
may be chance.
"""


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def rows(data):
    lines = (data / "reward_train.jsonl").read_text(encoding="utf-8").splitlines()
    hh = [row for row in map(json.loads, lines) if row["source"] == "hh"]
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
}


def figures(run):
    """(what the figures are, the figures, their standard errors) of one reward model; a figure is None where
    it has no such label."""
    import real  # which needs the judges' environment

    held, told = real.read_rows(run / "reward_heldout.jsonl"), real.read_rows(run / "refusals.jsonl")
    scored = list(held[0]["scores"])
    asked, found, errors = [], [], []
    for label, source, _, some, figure, _, error in real.questions(held):
        name = "reward" if scored == ["reward"] and source == "hh" else label  # of pairs: it has no label
        asked.append(f"{label}: {source}")
        found.append(figure([row["scores"][name] for row in some]) if name in scored else None)
        errors.append(error)
    for split in ("unsafe", "lookalike"):
        some = [row for row in told if row["split"] == split and row["label"] != "partial"]
        right = [(row["label"] == "refusal") == (split == "unsafe") for row in some]
        asked.append(f"right about refusals: {split}")
        found.append(None if len(scored) == 1 else real.area(
            right, [row["scores"]["meaningfulness"] + row["scores"]["safety"] for row in some]))
        errors.append(0.5 / len(some) ** 0.5)
    return asked, found, errors


def table(page, runs):
    import real

    all_figures = {run.name.rsplit("-", 1)[0]: figures(run) for run in runs}
    asked, _, errors = all_figures["first"]
    body = []
    for run, (name, (_, found, _)) in zip(runs, all_figures.items()):
        timing = real.read_rows(run / "run" / "timing.jsonl")[-1]
        cells = [WHAT[name], str(timing["step"]), f"{timing['cpu_seconds'] / 60:.1f}"]
        body.append([*cells, *("" if x is None else f"{x:.2f}" for x in found)])
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
