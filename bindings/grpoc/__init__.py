"""Is another GRPO trainer right? `verify` judges a dump of what it computed, `Dump` writes one, `dumps` is a
decorator for a loss function of one's own, and grpoc.trl, grpoc.verl, grpoc.openrlhf and grpoc.liger get
dumps out of a released trainer (docs/verify.md)."""
from .dump import Dump
from .loss import dumps
from .program import Result, verify

__all__ = ["Dump", "Result", "dumps", "verify"]
