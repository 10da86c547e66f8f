"""Dumps for `grpo verify` from a live, unmodified TRL GRPOTrainer, as a callback:

    import grpoc.trl
    trainer = GRPOTrainer(..., callbacks=[grpoc.trl.Dumps("dumps", steps=[1, 5])])

or, for a trainer that exists already, grpoc.trl.watch(trainer, "dumps", steps=[1, 5]); or, without a change
to a script that trains, `python -m grpoc trl SCRIPT`. Then for each step N, counted from 1:

    step-N-model/                     the weights that the step starts from, as a Hugging Face folder:
                                      verify's model
    reference/                        if beta is not 0: verify's ref_model
    step-N-generation.safetensors     if completions were drawn in this step: scores, advantages, old,
                                      reference and sampler log-probabilities, groups in order
    step-N-micro-K.safetensors        each micro-batch, which TRL deals out at random: from
                                      log-probabilities to the loss and its gradients
    step-N-update.safetensors         with gradient accumulation: the window's gradient, its norm, moments
                                      and the parameters after the step; without it these stand in
                                      step-N-micro-1

Nothing is computed a second time. Values that TRL keeps in no attribute are read from the local variables of
its own methods at the moment they return, so what is dumped is what TRL used. One process."""
import pathlib
import sys

import torch
import trl
from transformers import TrainerCallback

from .dump import Dump
from .watching import returning

# what the mathematics depends on
OPTIONS = ("loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "beta",
           "use_bias_correction_kl",
           "top_entropy_quantile", "off_policy_mask_threshold", "sapo_temperature_pos",
           "sapo_temperature_neg", "vespo_k_pos",
           "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg", "scale_rewards",
           "multi_objective_aggregation",
           "num_generations", "num_iterations", "max_completion_length", "mask_truncated_completions",
           "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
           "vllm_importance_sampling_clip_min",
           "vllm_importance_sampling_clip_max", "temperature", "top_k", "top_p", "min_p",
           "steps_per_generation",
           "gradient_accumulation_steps", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay",
           "max_grad_norm")
PROFILE = f"trl-{trl.__version__}"
BATCH = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "old_per_token_logps",
         "ref_per_token_logps",
         "sampling_per_token_logps", "importance_sampling_ratio")


def loss_tensors(local):
    """A dump's tensors out of the local variables that `_compute_loss` returns with."""
    batch, logps = local["inputs"], local["per_token_logps"]
    tensors = {k: batch.get(k) for k in BATCH}
    if "tool_mask" in batch:
        tensors["loss_mask"] = local["mask"]
    tensors.update(advantages=batch["advantages"], per_token_logps=logps, entropies=local.get("entropies"),
                   ratio=local["log_importance_weights"].exp(), per_token_kl=local.get("per_token_kl"),
                   per_token_loss=local["per_token_loss"].expand_as(logps), loss=local["loss"])
    return tensors


def settings(trainer):
    """A dump's settings: the trainer's options as they act."""
    args = trainer.args
    # None: TRL's default
    config = {k: getattr(args, k) for k in OPTIONS if getattr(args, k, None) is not None}
    tokenizer = (getattr(trainer, "_tokenizer", None)
                 or getattr(trainer.processing_class, "tokenizer", trainer.processing_class))
    ends = (getattr(trainer, "eos_token_ids", None)
            or [getattr(trainer, "eos_token_id", tokenizer.eos_token_id)])
    config.update(epsilon_high=trainer.epsilon_high, reward_weights=trainer.reward_weights.tolist(),
                  reward_names=list(trainer.reward_func_names), world_size=trainer.accelerator.num_processes,
                  eos_token_id=list(ends), pad_token_id=tokenizer.pad_token_id)
    return config


def entropy_coef(trainer):
    """What acts in this step (E116)."""
    if (getattr(trainer, "use_adaptive_entropy", False)
            and trainer._last_world_entropy > trainer.args.entropy_target):
        return 0.0
    return getattr(trainer, "entropy_coef", None)


class Dumps(TrainerCallback):
    """Writes the dumps of these optimiser steps into a folder. save_model: the weights before each step
    too."""

    def __init__(self, folder="dumps", steps=(1,), save_model=True):
        self.folder, self.steps, self.save_model = pathlib.Path(folder), set(steps), save_model
        self.trainer = self.generation = self.gradient = self.norm = None
        self.micro = self.window = self.update = None
        self.written = []

    def attach(self, trainer):
        """Wraps the methods of one trainer object."""
        self.trainer = trainer
        self.generate = trainer._generate_and_score_completions
        trainer._generate_and_score_completions = self.generate_and_keep
        self.train_micro, trainer.training_step = trainer.training_step, self.training_step
        self.clip = trainer.accelerator.clip_grad_norm_
        trainer.accelerator.clip_grad_norm_ = self.clip_and_keep

    def on_train_begin(self, args, state, control, **kwargs):
        """A callback is not told its trainer: it is the one that calls."""
        frame = sys._getframe()
        while frame and self.trainer is None:
            caller = frame.f_locals.get("self")
            if hasattr(caller, "_generate_and_score_completions"):
                self.attach(caller)
            frame = frame.f_back

    @property
    def step(self):
        return self.trainer.state.global_step + 1

    def wanted(self):
        return self.step in self.steps and self.trainer.model.training

    def model(self):
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def gradients(self):
        return {"grad." + k: p.grad.clone() for k, p in self.model().named_parameters() if p.grad is not None}

    def accumulation(self):
        return getattr(self.trainer, "current_gradient_accumulation_steps",
                       self.trainer.args.gradient_accumulation_steps)

    # -- one generation
    def generate_and_keep(self, inputs):
        seen = {}
        with returning("_generate_and_score_completions", "grpo_trainer.py", seen.update):
            output = self.generate(inputs)
        self.generation = dict(num_items_in_batch=int(output["num_items_in_batch"]))
        if self.wanted():
            self.begin()
            tensors = {k: output.get(k) for k in BATCH}
            # rewards: the weighted sum
            tensors.update({k: seen[k] for k in ("rewards_per_func", "rewards", "advantages")})
            self.write("generation", tensors, self.generation)
        return output

    def begin(self):
        """The weights before the step, once."""
        path = self.folder / f"step-{self.step}-model"
        if self.save_model and not path.exists():
            self.model().save_pretrained(path)
            self.trainer.processing_class.save_pretrained(path)
            if (self.trainer.beta != 0 and self.trainer.ref_model is not None
                    and not (self.folder / "reference").exists()):
                self.trainer.accelerator.unwrap_model(self.trainer.ref_model).save_pretrained(
                    self.folder / "reference")

    # -- one micro-batch
    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.step not in self.steps:
            return self.train_micro(model, inputs, num_items_in_batch)
        seen = {}

        def loss_returns(local):
            seen.update(local)
            local["per_token_logps"].retain_grad()
        before = self.gradients()
        with returning("_compute_loss", "grpo_trainer.py", loss_returns):
            result = self.train_micro(model, inputs, num_items_in_batch)
        self.begin()
        self.micro = 1 if self.window != self.step else self.micro + 1
        self.window = self.step
        tensors = dict(loss_tensors(seen), grad_per_token_logps=seen["per_token_logps"].grad,
                       **{k: v - before.get(k, 0) for k, v in self.gradients().items()})
        extra = dict(self.generation, entropy_coef=entropy_coef(self.trainer),
                     gradient_accumulation_steps=self.accumulation())
        self.update = (tensors, extra)
        if self.accumulation() > 1:
            self.write(f"micro-{self.micro}", tensors, extra)
        return result

    # -- the optimiser
    def clip_and_keep(self, *args, **kwargs):
        if self.wanted():
            self.gradient = self.gradients()
        self.norm = self.clip(*args, **kwargs)
        return self.norm

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if not self.wanted():
            return
        optimizer = self.trainer.optimizer
        optimizer = getattr(optimizer, "optimizer", optimizer)
        tensors, extra = self.update if self.accumulation() == 1 else ({}, dict(self.update[1]))
        tensors.update(self.gradients() if self.gradient is None else self.gradient)
        for m in ("exp_avg", "exp_avg_sq"):
            tensors.update({f"{m}.{k}": optimizer.state[p][m].clone()
                            for k, p in self.model().named_parameters()
                            if m in optimizer.state.get(p, {})})
        if self.norm is not None:
            tensors["grad_norm"] = torch.as_tensor(self.norm)
        self.update = (tensors, dict(extra, learning_rate=optimizer.param_groups[0]["lr"]))

    def on_optimizer_step(self, args, state, control, **kwargs):
        if not self.wanted():
            return
        tensors, extra = self.update
        tensors.update({"param." + k: p for k, p in self.model().named_parameters()})
        self.write("micro-1" if self.accumulation() == 1 else "update", tensors, extra)
        self.update = self.gradient = self.norm = None

    # -- the file
    def write(self, name, tensors, extra):
        args = self.trainer.args
        half = "bfloat16" if args.bf16 else "float16" if args.fp16 else None
        dtype = half or str(next(self.model().parameters()).dtype).split(".")[-1]
        dump = Dump(self.folder / f"step-{self.step}-{name}.safetensors", PROFILE, dtype,
                    f"TRL {trl.__version__}", **{**settings(self.trainer), "step": self.step, **extra})
        self.written.append(dump.add(tensors).write())


def watch(trainer, folder="dumps", steps=(1,), save_model=True):
    """Makes a trainer, of any subclass, write dumps of these optimiser steps; returns the trainer."""
    dumps = Dumps(folder, steps, save_model)
    dumps.attach(trainer)
    trainer.add_callback(dumps)
    return trainer
