# A program for --reward-cmd: one JSON line in for each reply, one JSON line out with its scores, in order and at once (flush=True).
# null is "not scored". Whatever a row of the data set holds beside the prompt is in `row` too.
import json
import sys

for line in sys.stdin:
    row = json.loads(line)
    words = row["completion"].split()
    scores = {"brevity": 1 / (1 + len(words)), "variety": len(set(words)) / len(words) if words else None}
    print(json.dumps({"id": row["id"], "scores": scores}), flush=True)
