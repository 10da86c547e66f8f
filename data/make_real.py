#!/usr/bin/env python3
"""make_real.py: from the public texts in data/real to the data sets of `make real` (data/real/README.md).

    python3 data/make_real.py OUTPUT_DIR

Writes reward_train.jsonl and reward_heldout.jsonl (replies with the labels that people gave them),
refusals.jsonl (replies with the label that people gave them and no reward model saw), prompts_train.jsonl and
prompts_judge.jsonl.
Nothing is drawn: whatever needs an order has that of SHA-256 over the text, so every machine writes the same
bytes. Rows are held out by dialogue or request, so that no prompt stands on both sides.
"""
import argparse
import hashlib
import json
import pathlib
import re

REAL = pathlib.Path(__file__).resolve().parent / "real"
PROMPT, REPLY = 300, 350            # characters kept of a turn of the prompt, and of a reply
DOUBTFUL = ("misinformation_harms", "human_chatbox")    # risks of which most prompts deserve an answer


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read(name):
    return read_rows(REAL / f"{name}.jsonl")


def order(text):
    return hashlib.sha256(text.encode()).hexdigest()


def share(text):
    """Where in [0, 1) the text falls."""
    return int(order(text)[:8], 16) / 16 ** 8


def cut(text, length):
    return text if len(text) <= length else text[:length].rsplit(" ", 1)[0]


def chat(dialogue, user, assistant):
    """The last turns of a dialogue as messages, up to some PROMPT characters and from a user's turn to one: a
    long history is cut in front, where it matters least to the reply."""
    pieces = re.split(rf"(?:^|\n+)({user}|{assistant}): ?", dialogue)
    turns = [(who == user, cut(text.strip(), PROMPT)) for who, text in zip(pieces[1::2], pieces[2::2])]
    while turns and not turns[-1][0]:
        turns.pop()
    kept = turns[-1:]
    for turn in reversed(turns[:-1]):
        if sum(len(text) for _, text in kept) + len(turn[1]) > PROMPT:
            break
        kept.insert(0, turn)
    while kept and not kept[0][0]:
        kept.pop(0)
    messages = []
    for is_user, text in kept:
        role = "user" if is_user else "assistant"
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n" + text
        else:
            messages.append({"role": role, "content": text})
    return messages


class Rows:
    """The rows of the data sets, each on its side."""

    def __init__(self):
        self.train, self.held = [], []
        self.best = {False: [], True: []}       # (prompt, a good reply) of benign prompts, by "is held out"
        self.harmless = {False: [], True: []}   # and of hh's

    def put(self, held, source, prompt, reply, group=None, times=1, **labels):
        row = {"source": source, "prompt": prompt, "completion": cut(reply, REPLY), "labels": labels}
        if group is not None:
            row["group"] = group            # replies to one prompt that people compared with each other
        if held:
            self.held.append(row)
        else:
            self.train += [row] * times         # rows that are few and matter


def politeness(rows):
    """Requests with the mean of five ratings: they stand as replies, since no rated replies are free. Two
    thirds of them are trained on; more would take the time of the other labels."""
    for row in read("politeness"):
        if share(row["text"]) < 0.7:
            rows.put(share(row["text"]) < 0.05, "politeness", "Write a request.", row["text"],
                     politeness=row["politeness"])


def dices(rows):
    """Dialogues with the share of 60 to 70 people who found no harm in the last reply; twice where they are
    trained on, since so many people went into each."""
    for row in read("dices"):
        prompt = chat(row["dialogue"], "A", "B")
        if prompt:
            rows.put(share(row["dialogue"]) < 0.2, "dices", prompt, row["reply"], times=2,
                     safety=row["safety"])


def hh(rows):
    """Of two replies the less harmful one counts 1, the other 0."""
    for row in read("hh_harmless"):
        prompt = chat(row["dialogue"], "Human", "Assistant")
        held = share(row["dialogue"][:200]) < 0.2       # dialogues that begin alike stay on one side
        if not prompt or not row["chosen"] or not row["rejected"]:
            continue
        rows.put(held, "hh", prompt, row["chosen"], row["id"], safety=1)
        rows.put(held, "hh", prompt, row["rejected"], row["id"], safety=0)
        rows.harmless[held].append((prompt, row["chosen"]))


def oasst(rows):
    """Ranked replies: the best counts 1, the last 0.5 (0 is a reply that answers something else)."""
    for number, row in enumerate(read("oasst_ranked")):
        prompt, n = chat(row["dialogue"], "User", "Assistant"), len(row["replies"])
        held = share(row["dialogue"]) < 0.28
        if not prompt:
            continue
        for i, reply in enumerate(row["replies"]):
            rows.put(held, "oasst", prompt, reply, number, meaningfulness=1 - 0.5 * i / (n - 1), safety=1)
        rows.best[held].append((prompt, row["replies"][0]))


def benign_held_out(prompt):
    return share(prompt) < 0.2


def self_instruct(rows):
    """Benign prompts with a good reply (1)."""
    for row in read("self_instruct"):
        if row["reply"]:
            held, prompt = benign_held_out(row["prompt"]), cut(row["prompt"], PROMPT)
            rows.put(held, "self_instruct", prompt, row["reply"], meaningfulness=1, safety=1)
            rows.best[held].append((prompt, row["reply"]))


def topical_chat(rows):
    """Replies with their coherence, from 1 to 3, as 0 to 1."""
    for row in read("topical_chat"):
        rows.put(share(row["dialogue"]) < 0.2, "topical_chat", row["dialogue"][-PROMPT:], row["reply"],
                 meaningfulness=(row["coherence"] - 1) / 2)


FOR_REWARD = 0.5        # share of XSTest's prompts for the reward model; the refusal judge has the others


def xstest_held_out(prompt):
    """Whether a prompt of XSTest that is for the reward model is held out."""
    return share(prompt) >= 0.8 * FOR_REWARD


def is_unsafe(row):
    """Whether a prompt of XSTest is unsafe; the others sound so and are harmless."""
    return row["type"].startswith("contrast")


def xstest(rows):
    """Replies that comply or refuse, by people's labels. To an unsafe prompt a refusal is safe (1) and what
    one can meaningfully say (1), an answer is not safe (0); to a harmless lookalike both are safe, and a
    refusal is not meaningful (0)."""
    for row in read("xstest"):
        answered = {"compliance": 1, "partial": 0.5, "refusal": 0}[row["label"]]
        if share(row["prompt"]) >= FOR_REWARD:
            continue
        held = xstest_held_out(row["prompt"])
        labels = {"safety": 1, "meaningfulness": answered}
        if is_unsafe(row):
            labels = {"safety": 1 - answered, **({"meaningfulness": 1} if row["label"] == "refusal" else {})}
        rows.put(held, "xstest", row["prompt"], row["reply"], times=3, **labels)


def answers_something_else(rows):
    """Meaningfulness 0: the reply to another prompt. A benign prompt gets one of another benign prompt, and
    half of them one from hh, both of which are safe (1) beside it; a prompt of hh gets its own (1) and one of
    a benign prompt (0)."""
    for held in (False, True):
        best, harmless = (by_text(some[held]) for some in (rows.best, rows.harmless))
        for i, (prompt, _) in enumerate(best):
            for reply in (best[i - 1][1], *([harmless[i][1]] if i % 2 else [])):
                rows.put(held, "other", prompt, reply, meaningfulness=0, safety=1)
        for i, (prompt, reply) in enumerate(harmless[:len(best)]):
            rows.put(held, "own", prompt, reply, meaningfulness=1)
            rows.put(held, "other", prompt, best[i][1], meaningfulness=0)


REFUSALS = (            # written for this, so that they fit any prompt
    "I'm sorry, but I can't assist with that.",
    "I cannot provide that. If there is something else that I can help you with, I'm happy to do so.",
    "I'm sorry for any confusion, but as an AI designed to be helpful, I'm unable to answer that.",
    "I'm sorry, but I'm not able to give information of that kind.",
    "I apologize, but I'm not comfortable with this request.",
    "As an AI assistant, I can't help with that.",
    "No, I won't help you with this.",
    "I'm sorry for any misunderstanding, but I'm here to assist you in other ways, and I cannot do that.",
)


def unsafe_held_out(prompt):
    return share(prompt) < 0.1


def refused(rows):
    """Refusals that fit any prompt are meaningful (1) where they answer an unsafe prompt of Do-Not-Answer,
    not (0) where they answer a benign one or a harmless lookalike: only the prompt tells. A benign reply
    beside every fourth of those unsafe prompts means nothing, either (0)."""
    for held in (False, True):
        best = by_text(rows.best[held])
        lookalike = [prompt for prompt in lookalike_prompts() if xstest_held_out(prompt) == held]
        wrong = [prompt for prompt, _ in best] + 2 * lookalike
        right = [prompt for prompt in asked_unsafe() if unsafe_held_out(prompt) == held][::2]
        for meaningful, prompts in ((0, wrong), (1, right)):
            for i, prompt in enumerate(prompts):
                rows.put(held, "refused", prompt, REFUSALS[i % len(REFUSALS)], meaningfulness=meaningful)
        for i, prompt in enumerate(right[::2]):
            rows.put(held, "other", prompt, best[i % len(best)][1], meaningfulness=0)


def contrasts(rows):
    """The starting policy's own replies, of a kind that was asked for (data/make_contrasts.py). To a harmless
    prompt the plain one is meaningful (1), a refusal and replies that talk about something else are not (0),
    and all of them are safe. To an unsafe one a refusal is safe and meaningful (1), the plain reply neither
    (0); the others are not meaningful, and how safe they are the other rows have to tell."""
    whole = {cut(row["prompt"], PROMPT): row["prompt"] for row in read("self_instruct")}
    held_out = {"benign": lambda prompt: benign_held_out(whole[prompt]),
                "lookalike": xstest_held_out, "unsafe": unsafe_held_out}
    for row in read("contrasts"):
        kind, split, prompt = row["kind"], row["split"], row["prompt"]
        unsafe = split == "unsafe"
        labels = {"meaningfulness": float(kind == ("refusal" if unsafe else "plain"))}
        if not unsafe or kind in ("plain", "refusal"):
            labels["safety"] = float(not unsafe or kind == "refusal")
        rows.put(held_out[split](prompt), f"{kind} to {split}", prompt, row["reply"],
                 times=2 if split == "lookalike" else 1, **labels)


def by_text(some):
    return sorted(some, key=lambda x: order(str(x)))


def asked_unsafe():
    """The unsafe prompts of Do-Not-Answer, by hash."""
    return by_hash(row for row in read("do_not_answer") if row["risk"] not in DOUBTFUL)


CONTRASTS = 200         # unsafe prompts with replies of every kind


def prompts_of_contrasts():
    """{split: prompts of the reward model and of GRPO that data/make_contrasts.py answers in every way}"""
    return {"benign": benign_prompts(), "lookalike": lookalike_prompts(),
            "unsafe": asked_unsafe()[:CONTRASTS]}


def benign_prompts():
    return [cut(prompt, PROMPT) for prompt in by_hash(read("self_instruct"))]


def lookalike_prompts():
    """XSTest's harmless prompts, those for the reward model."""
    return [prompt for prompt in all_lookalikes() if share(prompt) < FOR_REWARD]


def all_lookalikes():
    return by_hash(row for row in read("xstest") if not is_unsafe(row))


def refusals():
    """Replies of another model to unsafe prompts and to harmless lookalikes, complied or refused."""
    return [{"split": "unsafe" if is_unsafe(row) else "lookalike", "prompt": row["prompt"],
             "completion": cut(row["reply"], REPLY), "label": row["label"]}
            for row in read("xstest") if FOR_REWARD <= share(row["prompt"]) < FOR_REWARD + 0.3]


def by_hash(rows):
    return sorted({row["prompt"] for row in rows}, key=order)


def prompts():
    """(train, judge). Half of the prompts to train on are unsafe; the others are benign and harmless
    lookalikes in turn. None of them is asked about afterwards, and but for the lookalikes no source is on
    both sides."""
    hh_first = {chat(row["dialogue"], "Human", "Assistant")[0]["content"] for row in read("hh_harmless")
                if row["dialogue"].count("Human:") == 1}
    kinds = {"unsafe": sorted({*asked_unsafe(), *sorted(hh_first, key=order)[:100]}, key=order),
             "benign": benign_prompts(), "lookalike": lookalike_prompts()}
    standard = by_hash(row for row in read("harmbench") if row["functional"] == "standard")
    new = [prompt for prompt in all_lookalikes() if share(prompt) >= FOR_REWARD]
    judge = [{"split": split, "prompt": prompt} for split, some in
             (("vicuna", by_hash(read("vicuna"))), ("lookalike", new[:60]),
              ("advbench", by_hash(read("advbench"))[:80]), ("harmbench", standard)) for prompt in some]
    return in_turn(kinds, ("unsafe", "benign", "unsafe", "lookalike")), judge


def in_turn(kinds, turns):
    """As many rows as have every unsafe prompt once; the other kinds begin again where they end."""
    rows, drawn = [], dict.fromkeys(kinds, 0)
    for i in range(2 * len(kinds["unsafe"])):
        split = turns[i % len(turns)]
        rows.append({"split": split, "prompt": kinds[split][drawn[split] % len(kinds[split])]})
        drawn[split] += 1
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("output", type=pathlib.Path)
    output = p.parse_args().output
    rows = Rows()
    for source in (politeness, dices, hh, oasst, self_instruct, topical_chat, xstest, answers_something_else,
                   refused, contrasts):
        source(rows)
    train, judge = prompts()
    output.mkdir(parents=True, exist_ok=True)
    for name, some in (("reward_train", sorted(rows.train, key=lambda row: order(json.dumps(row)))),
                       ("reward_heldout", rows.held), ("refusals", refusals()),
                       ("prompts_train", train), ("prompts_judge", judge)):
        write_rows(output / f"{name}.jsonl", some)
        print(f"{name}.jsonl: {len(some)} rows")


if __name__ == "__main__":
    main()
