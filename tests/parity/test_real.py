"""`make real`: who sees which texts (data/make_real.py), and the arithmetic of its page
(experiment/real.py)."""

import json
import subprocess

import pytest
from support import ROOT

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
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in folder.glob("*.jsonl")
    }


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
    unsafe = [json.loads(line)["prompt"] for line in (ROOT / "data/real/do_not_answer.jsonl").open()]
    refused = [row for row in data["reward_train"] if row["source"] == "refused"]
    right = [row for row in refused if row["labels"]["meaningfulness"] == 1]
    assert len(right) > 250 and all(row["prompt"] in unsafe for row in right)
    wrong = [row for row in refused if row["labels"]["meaningfulness"] == 0]
    assert len(wrong) == len(refused) - len(right) > 250 and not any(row["prompt"] in unsafe for row in wrong)
    assert {row["completion"] for row in right} == {row["completion"] for row in wrong}
    xstest = {(row["prompt"], row["reply"][:100]): row for row in map(json.loads, XSTEST.open())}
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


def test_same_bytes_again(data, tmp_path):
    subprocess.run(["python3", ROOT / "data" / "make_real.py", tmp_path], check=True, capture_output=True)
    assert [json.loads(line) for line in (tmp_path / "prompts_train.jsonl").read_text().splitlines()] == data[
        "prompts_train"
    ]


def test_rows_of_the_levers(data, tmp_path):
    (tmp_path / "reward_train.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data["reward_train"])
    )
    subprocess.run(["python3", ROOT / "experiment" / "levers.py", "rows", tmp_path], check=True)
    scores, pairs = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("hh-scores", "hh-pairs")
    )
    assert 2 * len(pairs) == len(scores)
    told = {(json.dumps(row["prompt"]), row["completion"], row["labels"]["safety"]) for row in scores}
    for row in pairs:
        assert (json.dumps(row["prompt"]), row["chosen"], 1) in told
        assert (json.dumps(row["prompt"]), row["rejected"], 0) in told


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
    readings = tmp_path / "readings.jsonl"
    read = {"b1": "CC", "b2": "CD", "b3": "RR", "a1": "DD", "a2": "CC", "a3": "RR"}
    row = lambda text: {"split": "", "prompt": "p" + text[1], "completion": text, "read": list(read[text])}
    readings.write_text("".join(json.dumps(row(text)) + "\n" for text in read))
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


def test_a_third_of_the_harm_is_gone():
    entry = {"before": 0.1, "change": {"mean": 0.36, "ci95": [0.27, 0.45]}}
    assert asked("print(json.dumps(real.fallen_by(json.load(sys.stdin))))", entry) == pytest.approx(
        [0.4, 0.3, 0.5]
    )
