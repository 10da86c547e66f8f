"""`make real`: who sees which texts (data/make_real.py), and the arithmetic of its page
(experiment/real.py)."""

import json
import subprocess

import pytest
from support import ROOT, read_jsonl, write_jsonl

PYTHON = ROOT / "build" / "judge-venv" / "bin" / "python"
XSTEST = ROOT / "data" / "real" / "xstest.jsonl"
READ = f"import json, sys; sys.path.insert(0, {str(ROOT / 'experiment')!r}); import real\n"


def asked(program, value):
    """What a line of Python says of `value`, in the judges' environment."""
    done = subprocess.run(
        [PYTHON, "-c", READ + program], input=json.dumps(value), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    subprocess.run(["python3", ROOT / "data" / "make_real.py", folder], check=True, capture_output=True)
    return {path.stem: read_jsonl(path) for path in folder.glob("*.jsonl")}


def test_nothing_is_trained_on_and_asked_about(data):
    prompt = lambda rows: {json.dumps(row["prompt"]) for row in rows}
    whole = lambda rows: {(json.dumps(row["prompt"]), row["completion"]) for row in rows}
    train, held = data["reward_train"], data["reward_heldout"]
    assert len(train) > 13000 and len(held) > 2000
    assert not whole(train) & whole(held)
    rated = lambda rows: [row for row in rows if row["source"] != "politeness"]  # they share one prompt
    assert prompt(rated(train)) & prompt(rated(held)) <= {'[{"role": "user", "content": "Thanks."}]'}
    assert not prompt(data["prompts_judge"]) & (prompt(train) | prompt(data["prompts_train"]))
    assert not prompt(data["refusals"]) & prompt(train)


def test_the_reply_is_never_what_is_cut(data):
    for row in data["reward_train"]:
        prompt = (
            row["prompt"] if isinstance(row["prompt"], str) else "".join(m["content"] for m in row["prompt"])
        )
        assert len(prompt) <= 650 and 0 < len(row["completion"]) <= 350
        assert isinstance(row["prompt"], str) or row["prompt"][-1]["role"] == "user"


def test_a_refusal_means_something_where_it_is_right(data):
    unsafe = [row["prompt"] for row in read_jsonl(ROOT / "data/real/do_not_answer.jsonl")]
    refused = [row for row in data["reward_train"] if row["source"] == "refused"]
    right = [row for row in refused if row["labels"]["meaningfulness"] == 1]
    assert len(right) > 250 and all(row["prompt"] in unsafe for row in right)
    wrong = [row for row in refused if row["labels"]["meaningfulness"] == 0]
    assert len(wrong) == len(refused) - len(right) > 250 and not any(row["prompt"] in unsafe for row in wrong)
    assert {row["completion"] for row in right} == {row["completion"] for row in wrong}
    xstest = {(row["prompt"], row["reply"][:100]): row for row in read_jsonl(XSTEST)}
    for row in data["reward_train"] + data["reward_heldout"]:
        if row["source"] == "xstest":
            told = xstest[row["prompt"], row["completion"][:100]]
            answered = {"compliance": 1, "partial": 0.5, "refusal": 0}[told["label"]]
            if not told["type"].startswith("contrast"):
                assert row["labels"] == {"safety": 1, "meaningfulness": answered}
            elif answered == 0:
                assert row["labels"] == {"safety": 1, "meaningfulness": 1}
            else:
                assert row["labels"] == {"safety": 1 - answered}


def test_contrasts_are_known_by_what_was_asked_for(data):
    kept = read_jsonl(ROOT / "data/real/contrasts.jsonl")
    told = {(f"{row['kind']} to {row['split']}", row["prompt"]): row["reply"][:100] for row in kept}
    assert len(told) == len(kept)
    right = {
        "plain to harmless": {"meaningfulness": 1, "safety": 1},
        "itself to harmless": {"meaningfulness": 0, "safety": 1},
        "subject to harmless": {"meaningfulness": 0, "safety": 1},
        "refusal to harmless": {"meaningfulness": 0, "safety": 1},
        "plain to unsafe": {"meaningfulness": 0, "safety": 0},
        "itself to unsafe": {"meaningfulness": 0},
        "subject to unsafe": {"meaningfulness": 0},
        "refusal to unsafe": {"meaningfulness": 1, "safety": 1},
    }
    seen = {}
    for side in ("reward_train", "reward_heldout"):
        for row in data[side]:
            if " to " in row["source"]:
                kind = row["source"].replace("benign", "harmless").replace("lookalike", "harmless")
                assert row["labels"] == right[kind]
                assert told[row["source"], row["prompt"]] == row["completion"][:100]
                seen.setdefault(side, set()).add((row["source"], row["prompt"]))
    assert seen["reward_train"] | seen["reward_heldout"] == set(told)
    assert {prompt for _, prompt in seen["reward_train"]}.isdisjoint(p for _, p in seen["reward_heldout"])
    judged = {row["prompt"] for row in data["prompts_judge"]}
    assert judged.isdisjoint(prompt for _, prompt in told)


def test_contrasts_as_asked_and_kept():
    program = (
        "import make_contrasts as c; answered = json.load(sys.stdin); "
        "print(json.dumps([c.kept(answered), c.asked(), list(c.WAYS)]))"
    )
    row = lambda about, kind, reply: {"split": "s", "about": about, "kind": kind, "completion": reply}
    answered = [
        row("a", "plain", " I can't say. "),
        row("a", "refusal", "Here is how:"),
        row("a", "refusal", "I'm unable to help."),
        row("b", "refusal", "I'd be glad to."),
        row("b", "itself", ""),
        row("b", "subject", "It matters."),
    ]
    kept, rows, kinds = asked(program, answered)
    assert [(row["prompt"], row["kind"], row["reply"]) for row in kept] == [
        ("a", "plain", "I can't say."),
        ("a", "refusal", "I'm unable to help."),
        ("b", "subject", "It matters."),
    ]
    plain = [row for row in rows if row["kind"] == "plain"]
    assert all(row["prompt"] == row["about"] for row in plain)
    assert {row["kind"] for row in rows} == set(kinds) and len(rows) == (len(kinds) + 1) * len(plain)


def test_same_bytes_again(data, tmp_path):
    subprocess.run(["python3", ROOT / "data" / "make_real.py", tmp_path], check=True, capture_output=True)
    assert read_jsonl(tmp_path / "prompts_train.jsonl") == data["prompts_train"]


def test_rows_of_the_levers(data, tmp_path):
    for name in ("reward_train", "reward_heldout"):
        write_jsonl(tmp_path / f"{name}.jsonl", data[name])
    subprocess.run(["python3", ROOT / "experiment" / "levers.py", "rows", tmp_path], check=True)
    few, rest = (read_jsonl(tmp_path / f"{name}.jsonl") for name in ("few", "reward_train"))
    assert few == rest[:320] and len(rest) > 13000
    assert not any(" to " in row["source"] for row in rest)
    scores, pairs = (read_jsonl(tmp_path / f"{name}.jsonl") for name in ("hh-scores", "hh-pairs"))
    assert 2 * len(pairs) == len(scores)
    told = {(json.dumps(row["prompt"]), row["completion"], row["labels"]["safety"]) for row in scores}
    for row in pairs:
        assert (json.dumps(row["prompt"]), row["chosen"], 1) in told
        assert (json.dumps(row["prompt"]), row["rejected"], 0) in told


def test_the_mean_of_two_reward_models(tmp_path):
    for name, scores in (("a", [0.25, 1.0]), ("b", [0.75, 0.5])):
        (tmp_path / name).mkdir()
        rows = [{"prompt": i, "scores": {"safety": score}} for i, score in enumerate(scores)]
        write_jsonl(tmp_path / name / "told.jsonl", rows)
    program = (
        "import levers; runs = [levers.pathlib.Path(x) for x in json.load(sys.stdin)]; "
        "print(json.dumps(levers.scored(runs, 'told')))"
    )
    mean = asked(program, [str(tmp_path / name) for name in "ab"])
    assert mean == [{"prompt": 0, "scores": {"safety": 0.5}}, {"prompt": 1, "scores": {"safety": 0.75}}]


def test_pairs_that_people_compared():
    held = [
        {"group": 1, "labels": {"safety": 1}},
        {"group": 1, "labels": {"safety": 0}},
        {"group": 2, "labels": {"safety": 0.5}},
        {"group": 2, "labels": {"safety": 1}},
        {"group": 2, "labels": {"safety": 0.75}},
    ]
    program = "held, scores = json.load(sys.stdin); print(json.dumps(real.right_pairs(held, scores)))"
    assert asked(program, [held, [2, 1, 0, 3, 5]]) == [1, 1, 0, 1]  # 1 > 0; 1 > .5, 1 > .75 (wrong), .75 > .5


def test_contrasts_are_asked_about():
    row = lambda source, score, **labels: {
        "source": source, "group": 0, "prompt": "p", "completion": "c", "labels": labels,
        "scores": {"meaningfulness": score, "safety": score}}
    held = [
        row("plain to benign", 0.9, meaningfulness=1, safety=1),
        row("itself to benign", 0.95, meaningfulness=0, safety=1),
        row("subject to lookalike", 0.1, meaningfulness=0, safety=1),
        row("refusal to unsafe", 0.3, meaningfulness=1, safety=1),
        row("plain to unsafe", 0.2, meaningfulness=0, safety=0),
        row("itself to unsafe", 0.5, meaningfulness=0),
    ]
    program = (
        "held = json.load(sys.stdin); real.COMPARED = {}; print(json.dumps([[label, name, n, "
        "figure([row['scores'][label] for row in some])] for label, name, _, some, figure, n, _ in "
        "real.questions(held)]))"
    )
    assert asked(program, held) == [
        ["meaningfulness", "contrasts, harmless", 3, 0.5],  # above one of two
        ["meaningfulness", "contrasts, unsafe", 3, 0.5],
        ["safety", "contrasts, unsafe", 2, 1.0],
    ]


def test_a_change_needs_its_interval_and_every_seed():
    before = {"s": {"m": {"a": 0.0, "b": 1.0, "c": 2.0}}}
    up = {"s": {"m": {"a": 1.0, "b": 2.1, "c": 2.9}}}
    down = {"s": {"m": {"a": -0.1, "b": 0.9, "c": 1.9}}}
    program = "before, after = json.load(sys.stdin); print(json.dumps(real.changes(before, after)))"
    both = asked(program, [before, [up, up]])["s"]["m"]
    assert both["verdict"] == "rose" and both["seeds"] == pytest.approx([1, 1])
    # 1, 1.1, 0.9: deviation .1, Student's t of two degrees 4.3027
    assert both["change"]["ci95"] == pytest.approx(
        [1 - 4.302653 * 0.1 / 3**0.5, 1 + 4.302653 * 0.1 / 3**0.5], abs=1e-5
    )
    mixed = asked(program, [before, [up, up, up, down]])["s"]["m"]
    assert mixed["change"]["ci95"][0] > 0 and mixed["verdict"] == "not decided"


def test_what_was_read_blind(tmp_path):
    read = {"b1": "CC", "b2": "CD", "b3": "RR", "a1": "DD", "a2": "CC", "a3": "RR"}
    row = lambda text: {"split": "", "prompt": "p" + text[1], "completion": text, "read": list(read[text])}
    readings = write_jsonl(tmp_path / "readings.jsonl", [row(text) for text in read])
    reply = lambda split, prompt, text: {"split": split, "prompt": prompt, "completion": text}
    asked_of = [("advbench", "p1"), ("advbench", "p1"), ("harmbench", "p2"), ("vicuna", "p3")]
    policy = lambda *texts: [reply(*prompt, text) for prompt, text in zip(asked_of, texts)]
    replies = [
        policy("b1", "second", "b2", "b3"),
        policy("a1", "second", "other", "other"),
        policy("x", "y", "a2", "a3"),
    ]
    program = f"real.READINGS = real.pathlib.Path({str(readings)!r}); before, *after = json.load(sys.stdin); "
    table, n, agreed = asked(program + "print(json.dumps(real.read_blind(before, after)))", replies)
    assert n == 6 and agreed == pytest.approx(5 / 6)  # of b2 the readings differ
    unsafe = table["unsafe"]
    assert unsafe["C"]["before"] == 0.75 and unsafe["C"]["after"] == 0.5 and unsafe["D"]["after"] == 0.5
    assert unsafe["C"]["change"]["n"] == 2 and table["vicuna"]["R"]["before"] == 1
    replies[2][2]["completion"] = "of other weights"  # one of two unsafe prompts has no reading now
    table, n, _ = asked(program + "print(json.dumps(real.read_blind(before, after)))", replies)
    assert list(table) == ["vicuna"] and n == 2


def test_a_third_of_the_harm_is_gone():
    entry = {"before": 0.1, "change": {"mean": 0.36, "ci95": [0.27, 0.45]}}
    assert asked("print(json.dumps(real.fallen_by(json.load(sys.stdin))))", entry) == pytest.approx(
        [0.4, 0.3, 0.5]
    )
