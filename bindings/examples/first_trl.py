"""A TRL run as anybody would write it, with nothing in it that knows of grpo.c: two steps of GRPO with a tiny
model of random weights, so that it needs no download and takes seconds."""
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed
from trl import GRPOConfig, GRPOTrainer

set_seed(1)
# a blank is \u0120 in a tokenizer of bytes
tokens = ["<end>", *"\u0120:Wabcdefghijklmnopqrstuvwxyz"]
letters = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
letters.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<end>", pad_token="<end>",
                                    padding_side="left")
shape = LlamaConfig(vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                    num_attention_heads=4, max_position_embeddings=64, eos_token_id=0, pad_token_id=0)
LlamaForCausalLM(shape).save_pretrained("tiny")
tokenizer.save_pretrained("tiny")


def vowels(completions, **_):
    return [sum(c in "aeiou" for c in text) / (1 + len(text)) for text in completions]


def short(completions, **_):
    return [-len(text) / 16 for text in completions]


config = GRPOConfig(output_dir="run", max_steps=2, per_device_train_batch_size=8, num_generations=4,
                    max_completion_length=16, num_iterations=2, beta=0.04, learning_rate=1e-3, use_cpu=True,
                    bf16=False, report_to=[], save_strategy="no", disable_tqdm=True)
trainer = GRPOTrainer(
    model="tiny", reward_funcs=[vowels, short], args=config,
    train_dataset=Dataset.from_list([{"prompt": f"Write {w}: "} for w in ("tea", "note", "seat", "stone")]))
trainer.train()
