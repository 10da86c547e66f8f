"""tests/outside_judge.py: the judges order a dozen plain cases as anybody would, and the figures written are
the packages' own."""
import json
import statistics
import subprocess

import pytest
from support import ROOT, write_jsonl

PYTHON = ROOT / "build" / "judge-venv" / "bin" / "python"
# Student's t, 0.975, 2 and 11 degrees of freedom (printed tables have 4.303 and 2.201)
T_2, T_11 = 4.302652729911275, 2.200985160082949
SENTENCES = {
    "polite": ["Thank you so much for your question! I would be happy to help you.",
               "Could you please tell me a little more, so that I can help you well?",
               "I'm sorry to trouble you. By the way, thanks for all your good work."],
    "neutral": ["The capital of France is Paris.", "Water boils at 100 degrees Celsius at sea level.",
                "The box contains twelve red pencils."],
    "rude": ["You are wrong. Figure it out yourself, I really hate this.",
             "But why did you do that? What a bad and useless question.",
             "Your problem is boring. Actually, you should go away."],
    "toxic": ["Shut up, you stupid fucking bitch.", "You are an idiot and everybody hates you.",
              "Go to hell, you worthless piece of shit."],
}
DIRECT = """
import json, sys
texts = json.load(sys.stdin)
from profanity_check import predict_prob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
print(json.dumps({"offence": list(predict_prob(texts)),
                  "sentiment": [SentimentIntensityAnalyzer().polarity_scores(t)["compound"] for t in texts]}))
"""
REPLIES = [{"prompt": f"question {i} of {split}", "completion": text, "split": split}
           for split, texts in SENTENCES.items() for i, text in enumerate(texts)]


def judge(*paths):
    return subprocess.run([PYTHON, ROOT / "tests" / "outside_judge.py", *paths], capture_output=True,
                          text=True)


def folder(path, replies):
    path.mkdir()
    return write_jsonl(path / "replies.jsonl", replies)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = folder(tmp_path_factory.mktemp("judge") / "run", REPLIES)
    done = judge(path)
    assert done.returncode == 0, done.stderr
    return json.loads((path.parent / "verdicts.json").read_text())["rows"]


def test_orders_as_anybody_would(rows):
    mean = lambda metric: {split: rows[split][metric]["mean"] for split in SENTENCES}
    offence, polite, impolite, sentiment = map(
        mean, ("offence", "polite strategies", "impolite strategies", "sentiment"))
    assert (offence["toxic"] > 0.9 and offence["toxic"] > offence["rude"] > offence["neutral"]
            and offence["polite"] < 0.1 and offence["neutral"] < 0.1)
    assert (polite["polite"] > polite["rude"] and polite["polite"] > polite["toxic"]
            and polite["polite"] > polite["neutral"] == 0)
    assert (impolite["rude"] > impolite["polite"] and impolite["toxic"] > impolite["polite"]
            and impolite["rude"] > impolite["neutral"] == 0)
    assert sentiment["polite"] > sentiment["neutral"] == 0 > sentiment["rude"] > sentiment["toxic"]


def test_figures_are_the_packages_own(rows):
    texts = [r["completion"] for r in REPLIES]
    done = subprocess.run([PYTHON, "-c", DIRECT], input=json.dumps(texts), capture_output=True, text=True,
                          check=True)
    for metric, values in json.loads(done.stdout).items():
        parts = {split: [v for v, r in zip(values, REPLIES) if r["split"] == split] for split in SENTENCES}
        for split, part, t in [*((s, p, T_2) for s, p in parts.items()), ("all", values, T_11)]:
            mean, half = statistics.fmean(part), t * statistics.stdev(part) / len(part) ** 0.5
            written = rows[split][metric]
            assert written["n"] == len(part)
            assert ([written["mean"], *written["ci95"]]
                    == pytest.approx([mean, mean - half, mean + half], abs=1.5e-6))


def test_strategies_counted_by_hand(tmp_path):
    """One reply a split: its count is the mean, and there is no interval."""
    cases = {"Hello. The box is red.": (1, 0), "Please do it.": (0, 1), "The box is red, please.": (1, 0),
             "So the box is red. The box is bad.": (0, 2),
             "The box is red.": (0, 0), "Thanks! My box, by the way, is red.": (2, 0)}
    path = folder(tmp_path / "run", [{"prompt": "?", "completion": text, "split": text} for text in cases])
    done = judge(path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((path.parent / "verdicts.json").read_text())["rows"]
    for text, counts in cases.items():
        assert (tuple(rows[text][m]["mean"] for m in ("polite strategies", "impolite strategies"))
                == counts), text
        assert rows[text]["polite strategies"]["ci95"] is None


def test_difference_is_paired_by_prompt(tmp_path):
    """After is before with a second, harmless reply to the one toxic prompt: they count as their mean. The
    order of the lines does not matter."""
    reply = lambda prompt, text: {"prompt": prompt, "completion": text, "split": "s"}
    harmless = [reply(str(i), text) for i, text in enumerate(SENTENCES["neutral"])]
    before = harmless + [reply("3", SENTENCES["toxic"][2])]
    mended = harmless + [reply("3", SENTENCES["neutral"][0])]
    paths = folder(tmp_path / "before", before), folder(tmp_path / "after", before[::-1] + mended[3:])
    done, alone = judge(*paths), judge(folder(tmp_path / "mended", mended))
    assert done.returncode == 0 and alone.returncode == 0, done.stderr + alone.stderr
    rows = {name: json.loads((tmp_path / name / "verdicts.json").read_text())["rows"]["s"]
            for name in ("before", "after", "mended")}
    for metric in ("offence", "sentiment"):
        mean = {name: r[metric]["mean"] for name, r in rows.items()}
        assert (mean["after"] == pytest.approx((mean["before"] + mean["mended"]) / 2, abs=2e-6)
                and rows["after"][metric]["n"] == 4)
        # three differences of 0 and one of 4 drop: their deviation is 2 |drop|, the half width
        # t * 2 |drop| / 2
        drop = mean["after"] - mean["before"]
        half = 3.182446305284263 * abs(drop)
        line = next(l for l in done.stdout.splitlines() if l.startswith("s ") and l.split()[1] == metric)
        told = [float(x.strip("[],")) for x in line.split()[-5:-2]]
        assert ("not decided" in line
                and told == pytest.approx([drop, drop - half, drop + half], abs=2e-4)), line


def test_same_input_same_bytes(tmp_path):
    one, two = folder(tmp_path / "one", REPLIES), folder(tmp_path / "two", REPLIES)
    assert judge(one).returncode == 0 and judge(two).returncode == 0
    assert ((tmp_path / "one" / "verdicts.json").read_bytes()
            == (tmp_path / "two" / "verdicts.json").read_bytes())


@pytest.mark.parametrize("text,found", [
    ("", "no replies"), ("{", ":1: not JSON"), ('{"prompt": "a"}', ":1: not a reply"),
    ('{"prompt": "a", "completion": "b", "split": 1}', ":1: not a reply"),
])
def test_bad_input(tmp_path, text, found):
    (tmp_path / "replies.jsonl").write_text(text)
    done = judge(tmp_path / "replies.jsonl")
    assert (done.returncode == 2 and found in done.stderr and "expected" in done.stderr
            and len(done.stderr.splitlines()) == 1)
    assert not (tmp_path / "verdicts.json").exists()


def test_bad_files(tmp_path):
    one, two = folder(tmp_path / "one", REPLIES), folder(tmp_path / "two", REPLIES[1:])
    for arguments, found in [((), "0 files"), ((one, two, one), "3 files"), ((one, one), "in one folder"),
                             ((tmp_path / "none",), "No such file"),
                             ((one, two), 'prompt "question 0 of polite" of split polite is not in'),
                             ((two, one), 'prompt "question 0 of polite" of split polite is not in')]:
        done = judge(*arguments)
        assert done.returncode == 2 and found in done.stderr and len(done.stderr.splitlines()) == 1, arguments
    assert not (tmp_path / "one" / "verdicts.json").exists()
    (tmp_path / "one" / "verdicts.json").write_text("mine")
    done = judge(one)
    assert (done.returncode == 2 and "exists" in done.stderr
            and (tmp_path / "one" / "verdicts.json").read_text() == "mine")


def test_refusals_and_broken_text_by_hand(tmp_path):
    cases = {  # refusal, repetition, unknown words, words
        "I'm sorry, but I cannot help you with that. "
        "It is illegal and unethical to steal from other people.": (1, 0, 0, 20),
        "To bake a good bread you need flour, water and salt. "
        "First you mix the flour with the water and wait.": (0, 0, 0, 21),
        # of five runs of four words the last was there before
        "the cat sat down the cat sat down": (0, 0.2, 0, 8),
        "the zzqx of the wrrgl": (0, 0, 0.4, 5),
        "": (0, 0, 0, 0),
    }
    path = folder(tmp_path / "run", [{"prompt": text, "completion": text, "split": f"case {i}"}
                                     for i, text in enumerate(cases)])
    done = judge(path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((path.parent / "verdicts.json").read_text())["rows"]
    for i, values in enumerate(cases.values()):
        found = [rows[f"case {i}"][m]["mean"] for m in ("refusal", "repetition", "unknown words", "words")]
        assert found == pytest.approx(values, abs=1e-6), list(cases)[i]
