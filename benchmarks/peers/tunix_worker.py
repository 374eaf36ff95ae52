"""The alternative on JAX: Tunix's sampler, and its GRPO learner with RLOO advantages.

Runs in an environment of its own. Seconds are measured here, around the work itself.
"""

import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import serve
import steps
from flax import nnx
from tunix.generate import sampler as samplers
from tunix.models.llama3 import model as llama3
from tunix.models.llama3 import params as llama3_params

MODELS = {}
SAMPLERS = {}
STEPS = steps.Steps()
APPLY_ROPE = llama3.apply_rope


class IdentityTokenizer:
    """Tokenizer of texts that are token ids separated by spaces, so that only sampling is timed."""

    def encode(self, text):
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(map(str, ids))

    def bos_id(self):
        """None: prompts get no BOS token."""

    def eos_id(self):
        """An id that is never sampled; a request gives its stop tokens."""
        return -1

    def pad_id(self):
        """An id that no prompt contains."""
        return 0


def mesh():
    """Mesh with all devices on Tunix's data axis."""
    return jax.sharding.Mesh(np.array(jax.devices()).reshape(-1, 1), ("fsdp", "tp"))


def read(folder, dtype):
    """Reads the Llama model of a Hugging Face folder."""
    raw = json.loads((pathlib.Path(folder) / "config.json").read_text())
    # Tunix 0.1.7 uses a RoPE theta of 1,000,000 for every config; a wrong model would sample other lengths.
    llama3.apply_rope = functools.partial(APPLY_ROPE, rope_theta=raw["rope_theta"])
    config = llama3.ModelConfig(
        num_layers=raw["num_hidden_layers"],
        vocab_size=raw["vocab_size"],
        embed_dim=raw["hidden_size"],
        hidden_dim=raw["intermediate_size"],
        num_heads=raw["num_attention_heads"],
        head_dim=raw["head_dim"],
        num_kv_heads=raw["num_key_value_heads"],
        rope_theta=raw["rope_theta"],
        norm_eps=raw["rms_norm_eps"],
        weight_tying=raw["tie_word_embeddings"],
    )
    return llama3_params.create_model_from_safe_tensors(folder, config, mesh(), getattr(jnp, dtype))


def load(folder, dtype):
    """Loads the model of a Hugging Face folder, for `sample`."""
    SAMPLERS.clear()
    MODELS["model"] = read(folder, dtype)
    return {"devices": jax.device_count()}


def sample(prompts, new_tokens, stop_ids, seed):
    """Samples one completion per prompt at temperature 1; all prompts have one length.

    Args:
      stop_ids: tokens that end a completion; none: all have `new_tokens` tokens.
    """
    slots = len(prompts[0]) + new_tokens
    sampler = _sampler(slots, tuple(stop_ids))
    texts = [" ".join(map(str, prompt)) for prompt in prompts]
    started = time.perf_counter()
    with mesh():
        found = sampler(
            texts,
            max_generation_steps=new_tokens,
            max_prompt_length=len(prompts[0]),
            eos_tokens=stop_ids or None,
            temperature=1.0,
            top_p=1.0,
            seed=seed,
        )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": num_tokens(found.tokens, new_tokens)}


def num_tokens(completions, limit):
    """Counts the tokens of completions including their stop tokens, which Tunix removes."""
    return sum(min(len(tokens) + 1, limit) for tokens in completions)


def _sampler(slots, stop_ids):
    """Returns a sampler per set of stop tokens, since Tunix keeps those of the first call."""
    if (slots, stop_ids) not in SAMPLERS:
        model, config = MODELS["model"], MODELS["model"].config
        cache = samplers.CacheConfig(slots, config.num_layers, config.num_kv_heads, config.head_dim)
        SAMPLERS[slots, stop_ids] = samplers.Sampler(model, IdentityTokenizer(), cache)
    return SAMPLERS[slots, stop_ids]


# Many parameters: those of a request.
def rl_start(folder, prompts, group_size, prompt_tokens, max_completion_tokens, micro_batch_rows, learning_rate):
    """Starts a learner, whose first step waits for `rl_step`."""
    import transformers
    from tunix.rl import rl_cluster as clusters
    from tunix.rl.grpo import grpo_learner

    actor = read(folder, "float32")

    def batches():
        """Yields the same prompts forever; the learner asks for the next batch when a step has ended."""
        while True:
            STEPS.begin()
            yield {"prompts": np.array(prompts)}
            jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
            STEPS.end()

    class TimedCluster(clusters.RLCluster):
        """Times sampling separately."""

        def generate(self, *arguments, **named):
            """Samples and records the time."""
            started = time.perf_counter()
            found = super().generate(*arguments, **named)
            STEPS.sampled(time.perf_counter() - started, num_tokens(found.tokens, max_completion_tokens))
            return found

    cluster = TimedCluster(
        actor=actor,
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        cluster_config=_cluster_config(
            len(prompts),
            train_prompts=micro_batch_rows // group_size,
            prompt_tokens=prompt_tokens,
            max_completion_tokens=max_completion_tokens,
            learning_rate=learning_rate,
        ),
    )

    def reward(prompts, **_):
        return [float(number % 2) for number in range(len(prompts))]

    learner = grpo_learner.GRPOLearner(
        rl_cluster=cluster,
        algo_config=grpo_learner.GRPOConfig(num_generations=group_size, beta=0.0, advantage_estimator="rloo"),
        reward_fns=reward,
    )

    STEPS.run(lambda: learner.train(batches()))
    return {}


def _cluster_config(num_prompts, *, train_prompts, prompt_tokens, max_completion_tokens, learning_rate):
    """Settings of sampling and of the update; micro-batches are counted in prompts."""
    import optax
    from tunix.rl import rl_cluster as clusters
    from tunix.rl.rollout import base_rollout

    role = clusters.Role
    return clusters.ClusterConfig(
        role_to_mesh={role.ACTOR: mesh(), role.REFERENCE: mesh(), role.ROLLOUT: mesh()},
        training_config=clusters.RLTrainingConfig(
            actor_optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate)),
            eval_every_n_steps=1_000_000,
            max_steps=1_000_000,
            # In prompts. All are sampled at once.
            mini_batch_size=num_prompts,
            train_micro_batch_size=train_prompts,
            rollout_micro_batch_size=num_prompts,
            compute_logps_micro_batch_size=num_prompts,
        ),
        rollout_config=base_rollout.RolloutConfig(
            max_tokens_to_generate=max_completion_tokens,
            max_prompt_length=prompt_tokens,
            kv_cache_size=prompt_tokens + max_completion_tokens,
            temperature=1.0,
            top_p=1.0,
        ),
    )


serve.serve({"load": load, "sample": sample, "rl_start": rl_start, "rl_step": STEPS.step})
