"""The alternatives on torch: transformers' `generate` and TRL's `RLOOTrainer`.

Runs in an environment of its own. Seconds are measured here, around the work itself.
"""

import tempfile
import time

import serve
import steps
import torch
import transformers

MODELS = {}
STEPS = steps.Steps()


def load(folder, dtype, device):
    """Loads the model of a Hugging Face folder, for the other requests."""
    return _keep(transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)), device)


def load_random(raw, dtype, device):
    """Makes a model with random weights from the contents of a `config.json`."""
    config = transformers.AutoConfig.for_model(**raw)
    return _keep(transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)), device)


def _keep(model, device):
    model.generation_config.eos_token_id = None  # a request gives its stop tokens
    MODELS["model"] = model.to(device).eval()
    return {}


def sample(prompts, new_tokens, stop_ids, threads, cache, seed):
    """Samples one completion per prompt at temperature 1; all prompts have one length.

    Args:
      stop_ids: tokens that end a completion; none: all have `new_tokens` tokens.
      threads: CPU threads of torch.
      cache: "dynamic" or "static".
    """
    model = MODELS["model"]
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokens = torch.tensor(prompts, device=model.device)
    started = time.perf_counter()
    with torch.inference_mode():
        found = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_new_tokens=new_tokens,
            eos_token_id=stop_ids or None,
            pad_token_id=0,
            cache_implementation=None if cache == "dynamic" else cache,
        )
    completions = found[:, tokens.shape[1] :].cpu()  # waits for the device
    seconds = time.perf_counter() - started
    stops = torch.isin(completions, torch.tensor(stop_ids, dtype=completions.dtype))
    num_stops_before = stops.cumsum(dim=1) - stops.int()
    return {"seconds": seconds, "tokens": int((num_stops_before == 0).sum())}


def rl_start(folder, prompts, group_size, max_completion_tokens, micro_batch_rows, learning_rate):
    """Starts an RLOO trainer, whose first step waits for `rl_step`."""
    import datasets  # slow to import, and used here only: so the classes are local
    import trl

    class StepCallback(transformers.TrainerCallback):
        """Makes each step wait for `rl_step`, and reports its time."""

        def on_step_begin(self, *_, **__):
            STEPS.begin()

        def on_step_end(self, *_, **__):
            STEPS.end()

    class TimedTrainer(trl.RLOOTrainer):
        """Times `generate` separately."""

        def _generate(self, prompts):
            started = time.perf_counter()
            found = super()._generate(prompts)
            STEPS.sampled(time.perf_counter() - started, sum(map(len, found[1])))
            return found

    def reward(completions, **_):
        return [float(number % 2) for number in range(len(completions))]

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    trainer = TimedTrainer(
        model=model,
        reward_funcs=reward,
        args=_settings(
            len(prompts) * group_size,
            group_size=group_size,
            max_completion_tokens=max_completion_tokens,
            micro_batch_rows=micro_batch_rows,
            learning_rate=learning_rate,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts}),
        processing_class=transformers.AutoTokenizer.from_pretrained(folder),
        callbacks=[StepCallback()],
    )

    STEPS.run(trainer.train)
    return {}


def _settings(rows, *, group_size, max_completion_tokens, micro_batch_rows, learning_rate):
    """Settings of plain RLOO at a constant learning rate, which saves and logs nothing."""
    import trl

    return trl.RLOOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro_batch_rows,
        gradient_accumulation_steps=rows // micro_batch_rows,
        num_generations=group_size,
        max_completion_length=max_completion_tokens,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        beta=0.0,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_steps=1_000_000,
        max_grad_norm=1.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


serve.serve({"load": load, "load_random": load_random, "sample": sample, "rl_start": rl_start, "rl_step": STEPS.step})
