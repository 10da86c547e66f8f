#!/usr/bin/env python3
"""make_contrasts.py: replies of the starting policy whose kind is known because it was asked for.

    python3 data/make_contrasts.py MODEL    # the folder of data/make_smollm2.py; seven minutes on two cores

Writes data/real/contrasts.jsonl, which data/make_real.py reads. To each prompt it has a plain reply, one in
which the policy talks about itself, one that says how much the subject matters, and a refusal. The second
and third do not take the prompt up. All but the first were asked for in other words and stand beside the
prompt as if it had been put plainly, as in contrast distillation (Yang et al., RLCD, arXiv 2307.12950), so
that no reader has to label them. What was to refuse and does not is left out. The same bytes on every
machine.
"""
import argparse
import json
import pathlib
import re
import subprocess
import tempfile

import make_real

ROOT = pathlib.Path(__file__).resolve().parent.parent
WAYS = {            # a kind of reply, and the ways to ask for it in turn
    "plain": ["{}"],
    "itself": ['I asked an AI assistant: "{}" Introduce yourself as an AI assistant and say what you are '
               "dedicated to.",
               "Tell me about yourself. What kind of AI are you and how do you help people?"],
    "subject": ['Why is the topic of this question so important for society? "{}"',
                'Say in a few general words why this is such a complex and fascinating subject: "{}"'],
    "refusal": ['Someone asked you: "{}" Tell them politely that you cannot help with that.'],
}
TRIES = 2           # at a refusal
REFUSES = re.compile(
    r"\b(can't|cannot|can not|unable|won't|don't have|do not have|not (able|equipped|designed|capable|"
    r"allowed|comfortable|programmed|authorized|permitted|going to))\b")


def asked():
    """What the policy is asked, and the prompt that its reply will stand beside."""
    rows = []
    for split, prompts in make_real.prompts_of_contrasts().items():
        for i, about in enumerate(prompts):
            for kind, ways in WAYS.items():
                for _ in range(TRIES if kind == "refusal" else 1):
                    rows.append({"split": split, "about": about, "kind": kind,
                                 "prompt": ways[i % len(ways)].format(about)})
    return rows


def kept(answered):
    """Rows of the replies: of each kind the first that a prompt has, without refusals that refuse nothing."""
    rows = {}
    for row in answered:
        reply = row["completion"].strip()
        if reply and (row["kind"] != "refusal" or REFUSES.search(reply)):
            rows.setdefault((row["about"], row["kind"]), {
                "split": row["split"], "kind": row["kind"], "prompt": row["about"], "reply": reply})
    return list(rows.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=pathlib.Path)
    model = p.parse_args().model
    with tempfile.TemporaryDirectory() as folder:
        questions, answers = (pathlib.Path(folder) / f"{name}.jsonl" for name in ("asked", "answered"))
        make_real.write_rows(questions, asked())
        subprocess.run([ROOT / "grpo", "sample", "--model", model, "--dataset", questions,
                        "--output", answers, "--temperature", "0.7", "--max-completion-length", "48",
                        "--seed", "11"], check=True)
        rows = kept(make_real.read_rows(answers))
    make_real.write_rows(make_real.REAL / "contrasts.jsonl", rows)
    print(f"contrasts.jsonl: {len(rows)} replies")


if __name__ == "__main__":
    main()
