"""A small language of our own making for tests that need text, and the last line of a run: "N passed, N
failed"."""
import pytest
from support import run, write_jsonl

WORDS = "tea note seat stone a an eat ate at ten one on tent set sea".split()


def sentences(n):
    """One to five words answer any question: a trained model is sure of its letters and open in its words, so
    that completions of one prompt differ, end or are cut, and hold no byte that is not text."""
    rows, x = [], 1

    def draw(k):
        nonlocal x
        x = (x * 1103515245 + 12345) % 2 ** 31
        return x // 65536 % k
    for _ in range(n):
        asked, words = WORDS[draw(len(WORDS))], [WORDS[draw(len(WORDS))] for _ in range(1 + draw(5))]
        rows.append({"prompt": f"Say {asked}?", "completion": " ".join(words) + "."})
    return rows


class Language:
    """base: random weights, final: after some training, both with a tokenizer of single bytes: a text has one
    token list."""

    def __init__(self, path):
        from transformers import AutoTokenizer
        self.path, self.rows, self.base, self.final = (
            path, sentences(300), path / "base", path / "sft" / "final")
        self.data = write_jsonl(path / "pairs.jsonl", self.rows)
        run("f32", "init", tokenizer_data=self.data, output_dir=self.base, vocab_size=260, hidden_size=32,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=96)
        run("f32", "sft", model=self.base, dataset=self.data, output_dir=path / "sft", max_steps=1000,
            learning_rate=1e-2)
        self.tokenizer = AutoTokenizer.from_pretrained(str(self.base))
        self.end = self.tokenizer.convert_tokens_to_ids("<end>")

    def prompt_ids(self, prompt):
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return list(self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=False))

    def completion_ids(self, text, ended=True):
        """A turn of this template opens with a blank."""
        ids = self.tokenizer(" " + text if text else "", add_special_tokens=False)["input_ids"]
        return ids + [self.end] if ended else ids


@pytest.fixture(scope="session")
def language(tmp_path_factory):
    return Language(tmp_path_factory.mktemp("language"))


def pytest_unconfigure(config):
    """A test that could not start counts as failed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    count = lambda *keys: sum(len(reporter.stats.get(k, [])) for k in keys)
    print(f"{count('passed')} passed, {count('failed', 'error')} failed")
