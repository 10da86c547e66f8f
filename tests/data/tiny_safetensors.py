# Writes tiny.safetensors beside itself, with torch and safetensors: python3 tests/data/tiny_safetensors.py
import os, torch
from safetensors.torch import save_file

save_file({
    "matrix": torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5,
    "half": torch.tensor([65504, 2.0**-24, -2, 0.25], dtype=torch.float16).reshape(1, 2, 2),
    "brain": torch.tensor([1, -0.15625, torch.finfo(torch.bfloat16).max], dtype=torch.bfloat16),
    "double": torch.tensor(0.1, dtype=torch.float64),
    "count": torch.tensor([1, -2, 2**40]),
    "flag": torch.tensor([True, False, True]),
    "none": torch.zeros(0, 4),
}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiny.safetensors"),
   metadata={"format": "pt", "made by": "Python"})
