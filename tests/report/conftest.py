"""Handwritten workdirs with few seeds, known numbers and hostile text."""

import itertools
import json
import pathlib

import numpy as np
import pytest

HOSTILE = "</script><img src=x onerror=document.title='owned'> `|` $x^2$ =1+1"
NUM_PROBLEMS, NUM_SAMPLES, NUM_REPLICAS = 30, 32, 2
TESTS = {"hard_subset": "hard_test", "transfer": "transfer"}  # by the file of their problems
# Probability that a policy's sample is correct.
SKILL = {
    "soar_math": {
        "base": 0.0,
        "promoted_student": 0.8,
        "trained_teacher": 0.01,
        "curriculum": 0.9,
        "true_answers": 0.92,
        "random_answers": 0.0,
    },
    "hard_only": {"base": 0.0, "hard_only": 0.01},
    "frozen_teacher": {"base": 0.0, "promoted_student": 0.0, "curriculum": 0.03},
    "intrinsic_teacher": {"base": 0.0, "curriculum": 0.01},
    "grounded_teacher": {"base": 0.0, "curriculum": 0.85},
    "base_teacher": {"base": 0.0, "curriculum": 0.02},
    "serl": {"base": 0.0, "self_play": 0.05},
    "inference": {"base": 0.0, "promoted_student": 0.8, "trained_teacher": 0.0},
    "curated": {"base": 0.0, "curriculum": 0.97},
    "correct_only": {"base": 0.0, "curriculum": 0.7},
    "well_posed_only": {"base": 0.0, "curriculum": 0.9},
}
# Methods of the fixture `study`.
STUDY = (
    "soar_math",
    "hard_only",
    "frozen_teacher",
    "intrinsic_teacher",
    "grounded_teacher",
    "base_teacher",
    "curated",
)
ONE_POLICY = ("base", "promoted_student", "trained_teacher")  # policies that are no replicas
VENDI = {"soar_math": (9.0, 8.9), "frozen_teacher": (9.0, 9.0), "intrinsic_teacher": (9.0, 2.0)}  # first, last
CURRICULUM_VENDI = {"intrinsic_teacher": 2.0}  # of final students' questions; others 8


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def question(rng, step, dataset):
    right = bool(rng.random() < 0.6)
    return {
        "outer_step": step,
        "dataset": dataset,
        "question": HOSTILE if rng.random() < 0.02 else f"dial {rng.integers(1000)} rotate",
        "answer": str(rng.integers(10)),
        "true_answer": str(rng.integers(10)),
        "subject": str(rng.choice(["dial", "sum"])),
        "level": int(rng.integers(1, 9)),
        "well_posed": bool(right or rng.random() < 0.5),
        "right": right,
        "solve_rate": float(rng.random()),
        "reward": float(np.round(dataset * 0.01 + step * 0.001, 4)),
    }


def completion(step, sample):
    return {
        "outer_step": step,
        "dataset": 1,
        "student": 0,
        "student_step": 3,
        "question": f"dial {step} rotate",
        "reference_answer": "7",
        "completion": f"turn it\n{HOSTILE}\nso {sample}",
        "answer": None if sample % 2 else "7",
        "verdict": "wrong" if sample % 2 else "correct",
        "reward": 1.0 - sample % 2,
        "advantage": 0.123456,
    }


def note_source(workdir, source):
    """Writes what a run notes of the one that it starts from."""
    config, summary = (json.loads((source / f"{name}.json").read_text()) for name in ("config", "summary"))
    results = {path.stem: json.loads(path.read_text()) for path in (source / "results").glob("*.json")}
    record = {"config": config, "summary": summary, "results": results}
    (workdir / "source_run.json").write_text(json.dumps(record))


def write_run(workdir, method, seed, *, num_steps=6, num_questions=8, finished=True, **values):
    """Writes a workdir of a method; `values` are further config entries."""
    rng = np.random.default_rng((seed, len(method)))
    workdir.mkdir(parents=True)
    config = {
        "method": method,
        "scale": "nano",
        "seed": seed,
        "evaluation": {"pass_at": [1, 8, 32]},
        "note": HOSTILE,
    }
    (workdir / "config.json").write_text(json.dumps(config | values))
    if "source_run" in values:
        note_source(workdir, pathlib.Path(values["source_run"]))
    ids = {test: [f"{test[0]}{seed}-{number}" for number in range(NUM_PROBLEMS)] for test in TESTS.values()}
    for name, test in TESTS.items():
        rows = [{"id": i, "question": f"dial {i}", "answer": "1 2 3", "subject": "dial", "level": 7} for i in ids[test]]
        (workdir / f"{name}.jsonl").write_text(lines([{"key": "k"}, *rows] if name == "hard_subset" else rows))
    if method in VENDI:
        write_search(workdir, rng, vendi=VENDI[method], num_steps=num_steps, num_questions=num_questions)
    if finished:
        write_results(workdir, rng, SKILL[method], ids=ids)
        if "curriculum" in SKILL[method]:
            rows = [{"stage": 1, "stage_name": "promotion 1"} | question(rng, 0, 0) for _ in range(20)]
            (workdir / "curriculum.jsonl").write_text(lines(rows))
        (workdir / "summary.json").write_text(json.dumps(summary(method, num_steps)))


def write_search(workdir, rng, *, vendi, num_steps, num_questions):
    """Writes the files of outer steps, of which the third promotes a student."""
    first, last = vendi
    metrics = [
        {
            "outer_step": step,
            "validation_accuracy": step / num_steps,
            "promoted": step == 2,
            "valid_share": 1.0,
            "mean_reward": 0.01 * step,
            "vendi": first + (last - first) * min(1, step / 2),
            "cosine_distance": last / 10,
            "distinct_share": 1.0,
            "subjects": {"dial": 3, "sum": 5},
            "levels": {"1": 5, "7": 3},
            "inner_signal_share": 0.1 * step / num_steps,
            "inner_entropy_estimate": 0.5,
            "teacher_entropy_estimate": 1.5,
            "inner_reference_kl": None,
        }
        for step in range(num_steps)
    ]
    (workdir / "metrics.jsonl").write_text(lines(metrics))
    pairs = itertools.product(range(num_steps), range(num_questions // 2))
    rows = [question(rng, *pair) for pair in pairs for _ in range(2)]
    (workdir / "ledger.jsonl").write_text(lines(rows))
    kept = itertools.product(range(num_steps), range(num_questions))
    (workdir / "completions.jsonl").write_text(lines(completion(*pair) for pair in kept))


def write_results(workdir, rng, skill, *, ids):
    """Writes the tests of policies, each of whose samples is correct with a probability."""
    (workdir / "results").mkdir()
    for policy, chance in skill.items():
        replicas = 1 if policy in ONE_POLICY else NUM_REPLICAS
        counts = rng.binomial(NUM_SAMPLES, chance, (2, replicas, NUM_PROBLEMS)).tolist()
        curve = [
            {"student_steps": steps, "stage": "s", "is_synthetic": steps <= 20, "validation": [chance] * replicas}
            for steps in (0, 10, 20, 30)
        ]
        result = {
            "policy": policy,
            "student_steps": 0 if policy == "base" else 30,
            "num_replicas": replicas,
            "curve": [] if replicas == 1 else curve,
            "num_sampled_tokens": 1_000_000,
            "num_flops": 2 * 10**15,
            "wall_s": 9.0,
            "tests": {
                test: {"num_samples": NUM_SAMPLES, "ids": ids[test], "num_correct": count}
                for test, count in zip(ids, counts, strict=True)
            },
        }
        (workdir / "results" / f"{policy}.json").write_text(json.dumps(result))


def summary(method, num_steps):
    return {
        "command": f"python experiments/run.py --config=configs/{method}.py --config.note='{HOSTILE}'",
        "outer_steps": num_steps,
        "num_promotions": 1,
        "promotions": [{"outer_step": 2, "source_step": 2, "dataset": 1}],
        "total_student_steps": 1234,
        "num_sampled_tokens": (5 + len(SKILL[method])) * 1_000_000,
        "num_flops": (7 + 2 * len(SKILL[method])) * 10**15,
        "search_s": 36.0,
        "wall_s": 60.0,
        "num_devices": 2,
        "device_kind": "cpu",
        "hard_subset": {"num_candidates": 100, "train": 30, "validation": 0, "test": NUM_PROBLEMS},
        "curriculum": {"right_share": 0.6, "well_posed_share": 0.8, "distinct_share": 1.0}
        | {"vendi": CURRICULUM_VENDI.get(method, 8.0), "vendi_size": 32},
    }


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Three seeds of several methods."""
    out = tmp_path_factory.mktemp("study")
    for method in STUDY:
        for seed in range(3):
            write_run(out / method / f"seed{seed}", method, seed)
    return out
