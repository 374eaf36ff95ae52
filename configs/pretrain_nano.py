"""Pretrains the embedded model from scratch on the CPU, in about 4 minutes on 2 quiet cores.

    python experiments/pretrain.py --config=configs/pretrain_nano.py --out=runs/nano

Hardware: 2 CPU cores
Time: about 4 minutes
Expect: the validation table of docs/nano_world.md

Shows: how the embedded model is made. The phase `skill` teaches the work. The phase `prior` sets the inclination: it
makes worked answers to exam questions as rare as `worked_prior`. That prior is engineered, not learnt from natural
text. Tuples have one entry per level (number of operations), 1 to 8.
"""

import ml_collections

_SKILL = {
    "level_weights": (1.0,) * 8,
    "worked": (0.0, 0.0, 0.03, 0.06, 0.02, 0.0, 0.0, 0.0),
    "right": (1.0, 1.0, 0.5, 0.15, 0.0, 0.0, 0.0, 0.0),  # direct answers
    "wrong_copies_start": False,
}
_PRIOR = (1e-6, 1e-6, 0.08, 0.08, 0.03, 1e-4, 1e-5, 3e-6)


# Long: a flat list of values.
def get_config() -> ml_collections.ConfigDict:
    """The pretraining config of the embedded model."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.model = ml_collections.ConfigDict(
        {
            "d_model": 96,
            "hidden_dim": 256,
            "num_layers": 3,
            "num_heads": 4,
            "num_kv_heads": 4,
            "head_dim": 24,
            "rope_theta": 10000.0,
            "norm_eps": 1e-5,
            "max_position_tokens": 64,
        }
    )
    c.phases = ("skill", "prior")  # in this order
    c.skill = ml_collections.ConfigDict(
        {
            "num_steps": 1000,
            "peak_learning_rate": 3e-3,
            "warmup_steps": 150,
            "textbook": 0.14,
            "exam_worked": 0.08,
            "exam": 0.58,
            "exam_dial": {"share": 0.6, "mirror": 0.25, **_SKILL},
            "teacher_dial": {"share": 0.3, "mirror": 0.0, **_SKILL},
            "worked_prior": (),
            "prior_weight": 0.0,
        }
    )
    c.prior = ml_collections.ConfigDict(
        {
            "num_steps": 360,
            "peak_learning_rate": 1e-3,
            "warmup_steps": 20,
            "textbook": 0.06,
            "exam_worked": 0.06,
            "exam": 0.58,
            "exam_dial": {
                "share": 0.75,
                "mirror": 0.25,
                "level_weights": (0.06, 0.10, 0.14, 0.14, 0.14, 0.14, 0.14, 0.14),
                "worked": _PRIOR,
                "right": (1.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
                "wrong_copies_start": True,  # so that lucky hits on hard problems are near zero
            },
            "teacher_dial": {
                "share": 0.15,
                "mirror": 0.0,  # no teacher writes the topic of the transfer test
                "level_weights": (0.40, 0.38, 0.05, 0.05, 0.04, 0.03, 0.03, 0.02),
                "worked": (0.0, 0.0, 0.6, 0.6, 0.6, 0.5, 0.5, 0.5),
                "right": (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
                "wrong_copies_start": False,
            },
            "worked_prior": _PRIOR,
            "prior_weight": 0.02,
        }
    )
    c.worked_mirror = 0.25  # share of `mirror` in textbooks and worked exams
    c.documents_per_step = 256
    c.decay_fraction = 0.5  # share of a phase's steps, at its end, over which the learning rate decays to zero
    c.prior_prompts_per_step = 128
    c.longest_document_tokens = 43
    c.mesh = ml_collections.ConfigDict({"cpu_devices": 2})
    return c
