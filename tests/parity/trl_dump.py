"""Dumps for `grpo verify` from a live, unmodified TRL GRPOTrainer.

    from trl_dump import DumpingGRPOTrainer
    trainer = DumpingGRPOTrainer(model=..., reward_funcs=..., args=..., train_dataset=..., dump_steps=[1, 5], dump_folder="dumps")
    trainer.train()

or, for a trainer that exists already (any subclass): dump(trainer, steps=[1, 5], folder="dumps"). Then for each step N, counted from 1:

    step-N-model/                     the weights that the step starts from, as a Hugging Face folder: verify --model
    reference/                        if beta is not 0: verify --ref-model
    step-N-generation.safetensors     if completions were drawn in this step: scores, advantages, old, reference and sampler log-probabilities, groups in order
    step-N-micro-K.safetensors        each micro-batch (TRL deals completions out at random): from log-probabilities to the loss and its gradients
    step-N-update.safetensors         with gradient accumulation: the window's gradient, its norm, moments and the parameters after the step; without it these
                                      stand in step-N-micro-1

Nothing is computed a second time. Values that TRL keeps in no attribute are read from the local variables of its own methods at the moment
they return (`watch`), so what is dumped is what TRL used. One process."""
import contextlib
import pathlib
import sys

import torch
from torch_dump import gradients, moments, parameters, write_dump
from transformers import TrainerCallback
from trl import GRPOTrainer

# what the mathematics depends on
OPTIONS = ("loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "beta", "use_bias_correction_kl", "top_entropy_quantile", "off_policy_mask_threshold",
           "sapo_temperature_pos", "sapo_temperature_neg", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg", "scale_rewards",
           "multi_objective_aggregation", "num_generations", "num_iterations", "max_completion_length", "mask_truncated_completions", "vllm_importance_sampling_correction",
           "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_min", "vllm_importance_sampling_clip_max", "temperature", "top_k", "top_p", "min_p",
           "steps_per_generation", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm")
GENERATION = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps", "sampling_per_token_logps",
              "importance_sampling_ratio")


@contextlib.contextmanager
def watch(function_name, seen):
    """Calls seen(locals) when the method of that name returns; the method itself stays as it is."""
    def hook(frame, event, _):
        if event == "return" and frame.f_code.co_name == function_name and frame.f_code.co_filename.endswith("grpo_trainer.py"):
            seen(dict(frame.f_locals))
    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        yield
    finally:
        sys.setprofile(before)


class Dumper(TrainerCallback):
    """Wraps the methods of one trainer object, and listens to its steps."""

    def __init__(self, trainer, steps, folder, save_model=True):
        self.trainer, self.steps, self.folder, self.save_model = trainer, set(steps), pathlib.Path(folder), save_model
        self.generation = self.grad_before = self.norm = None
        self.micro = self.window = self.update = None
        self.generate, trainer._generate_and_score_completions = trainer._generate_and_score_completions, self.generate_and_keep
        self.train_micro, trainer.training_step = trainer.training_step, self.training_step
        self.clip, trainer.accelerator.clip_grad_norm_ = trainer.accelerator.clip_grad_norm_, self.clip_and_keep
        trainer.add_callback(self)

    @property
    def step(self):
        return self.trainer.state.global_step + 1

    def wanted(self):
        return self.step in self.steps and self.trainer.model.training

    def model(self):
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    # -- one generation
    def generate_and_keep(self, inputs):
        seen = {}
        with watch("_generate_and_score_completions", seen.update):
            output = self.generate(inputs)
        if self.wanted():
            self.begin()
            tensors = {k: output.get(k) for k in GENERATION}
            tensors.update({k: seen[k] for k in ("rewards_per_func", "rewards", "advantages")})     # rewards: as TRL logs it, the weighted sum
            self.generation = dict(num_items_in_batch=int(output["num_items_in_batch"]))
            self.write("generation", tensors, self.generation)
        else:
            self.generation = dict(num_items_in_batch=int(output["num_items_in_batch"]))
        return output

    def begin(self):
        """The weights before the step, once."""
        path = self.folder / f"step-{self.step}-model"
        if self.save_model and not path.exists():
            self.model().save_pretrained(path)
            self.trainer.processing_class.save_pretrained(path)
            if self.trainer.beta != 0 and self.trainer.ref_model is not None and not (self.folder / "reference").exists():
                self.trainer.accelerator.unwrap_model(self.trainer.ref_model).save_pretrained(self.folder / "reference")

    # -- one micro-batch
    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.step not in self.steps:
            return self.train_micro(model, inputs, num_items_in_batch)
        seen = {}

        def loss_returns(local):
            seen.update(local)
            local["per_token_logps"].retain_grad()
        before = {k: v.clone() for k, v in gradients(self.model()).items()}
        with watch("_compute_loss", loss_returns):
            result = self.train_micro(model, inputs, num_items_in_batch)
        self.begin()
        after = gradients(self.model())
        self.micro = 1 if self.window != self.step else self.micro + 1
        self.window = self.step
        batch = seen["inputs"]
        tensors = {k: batch.get(k) for k in GENERATION}
        if "tool_mask" in batch:
            tensors["loss_mask"] = seen["mask"]
        tensors.update(advantages=batch["advantages"], per_token_logps=seen["per_token_logps"], entropies=seen["entropies"], ratio=seen["log_importance_weights"].exp(),
                       per_token_kl=seen.get("per_token_kl"), per_token_loss=seen["per_token_loss"].expand_as(seen["per_token_logps"]), loss=seen["loss"],
                       grad_per_token_logps=seen["per_token_logps"].grad, **{k: v - before.get(k, 0) for k, v in after.items()})
        extra = dict(self.generation, entropy_coef=self.entropy_coef(), gradient_accumulation_steps=self.trainer.current_gradient_accumulation_steps)
        self.update = (tensors, extra)
        if self.trainer.current_gradient_accumulation_steps > 1:
            self.write(f"micro-{self.micro}", tensors, extra)
        return result

    def entropy_coef(self):
        """What acted in this step (E116)."""
        trainer = self.trainer
        if getattr(trainer, "use_adaptive_entropy", False) and trainer._last_world_entropy > trainer.args.entropy_target:
            return 0.0
        return trainer.entropy_coef

    # -- the optimiser
    def clip_and_keep(self, *args, **kwargs):
        if self.wanted():
            self.grad_before = {k: v.clone() for k, v in gradients(self.model()).items()}
        self.norm = self.clip(*args, **kwargs)
        return self.norm

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if not self.wanted():
            return
        optimizer = self.trainer.optimizer
        optimizer = getattr(optimizer, "optimizer", optimizer)
        tensors, extra = self.update if self.trainer.current_gradient_accumulation_steps == 1 else ({}, dict(self.update[1]))
        tensors.update(self.grad_before if self.grad_before is not None else {k: v.clone() for k, v in gradients(self.model()).items()})
        tensors.update({k: v.clone() for k, v in moments(self.model(), optimizer).items()})
        if self.norm is not None:
            tensors["grad_norm"] = torch.as_tensor(self.norm)
        self.update = (tensors, dict(extra, learning_rate=optimizer.param_groups[0]["lr"]))

    def on_optimizer_step(self, args, state, control, **kwargs):
        if not self.wanted():
            return
        tensors, extra = self.update
        tensors.update(parameters(self.model()))
        self.write("micro-1" if self.trainer.current_gradient_accumulation_steps == 1 else "update", tensors, extra)
        self.update = self.grad_before = self.norm = None

    # -- the file
    def write(self, name, tensors, extra):
        trainer, args = self.trainer, self.trainer.args
        config = {k: getattr(args, k) for k in OPTIONS if getattr(args, k, None) is not None}      # None: TRL's default
        config.update(epsilon_high=trainer.epsilon_high, reward_weights=trainer.reward_weights.tolist(), reward_names=list(trainer.reward_func_names),
                      world_size=trainer.accelerator.num_processes, eos_token_id=list(trainer.eos_token_ids), pad_token_id=trainer._tokenizer.pad_token_id, step=self.step,
                      gradient_accumulation_steps=args.gradient_accumulation_steps)
        config.update(extra)
        dtype = next(self.model().parameters()).dtype
        half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else dtype
        write_dump(self.folder / f"step-{self.step}-{name}.safetensors", tensors, config, producer="trl_dump.py", compute_dtype=str(half).removeprefix("torch."))


def dump(trainer, steps, folder, save_model=True):
    """Makes a trainer write dumps of these optimiser steps; returns the trainer."""
    Dumper(trainer, steps, folder, save_model)
    return trainer


class DumpingGRPOTrainer(GRPOTrainer):
    def __init__(self, *args, dump_steps=(1,), dump_folder="dumps", **kwargs):
        super().__init__(*args, **kwargs)
        dump(self, dump_steps, dump_folder)
