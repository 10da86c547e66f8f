# A reward of your own, for --reward-cmd: a line of JSON in for each reply, a line with its scores out.
import json
import sys

for line in sys.stdin:
    reply = json.loads(line)        # "id", "prompt", "completion", "finish_reason", and what the data row has
    brief = 1 - len(reply["completion"].split()) / 40
    ended = float(reply["finish_reason"] == "stop")     # null would be "not scored"
    print(json.dumps({"id": reply["id"], "scores": {"brief": brief, "ended": ended}}), flush=True)
