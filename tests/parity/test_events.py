"""`--report-to tensorboard`: TensorBoard's own reader finds every number of the log."""
import json

from support import run, write_jsonl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_events(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": f"question {i}", "completion": f"answer {i}"}
                                          for i in range(40)])
    run("f32", "init", tokenizer_data=tmp_path / "rows.jsonl", output_dir=tmp_path / "base", hidden_size=16,
        num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, vocab_size=280)
    run("f32", "sft", model=tmp_path / "base", dataset=tmp_path / "rows.jsonl", output_dir=tmp_path / "run",
        max_steps=5, report_to="tensorboard")
    found = EventAccumulator(str(tmp_path / "run" / "runs"))
    found.Reload()
    log = [json.loads(line) for line in open(tmp_path / "run" / "log.jsonl")][:-1]
    names = set(log[0]) - {"step"}
    assert set(found.Tags()["scalars"]) == {"train/" + name for name in names}
    for name in names:
        events = found.Scalars("train/" + name)
        assert [e.step for e in events] == [line["step"] for line in log]
        for event, line in zip(events, log):
            assert abs(event.value - line[name]) <= 1e-6 * abs(line[name])
