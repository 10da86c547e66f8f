"""Is another GRPO trainer right? `verify` judges a dump of what it computed, `Dump` writes one, and grpoc.trl, grpoc.verl,
grpoc.openrlhf and grpoc.liger get one out of a released trainer (docs/verify.md)."""
from .dump import Dump
from .program import Result, verify

__all__ = ["Dump", "Result", "verify"]
