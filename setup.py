"""Package metadata of soar-jax; dependencies are in requirements.txt."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
REQUIREMENTS = [
    line for line in (HERE / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")
]
# gs:// paths: gcsfs for our own files, google-cloud-storage for orbax, which asks it what kind of bucket it writes to.
BUCKETS = ["gcsfs>=2026.10", "google-cloud-storage>=3.17"]

setup(
    name="soar-jax",
    version="0.1.0",
    description="SOAR (Teaching Models to Teach Themselves) as JAX programs",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["soar_jax", "soar_jax.*", "configs"]),
    package_data={"soar_jax.model": ["nano/*"], "soar_jax.report": ["page.*", "live.js"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff>=0.14",
            "mypy>=1.18",
            "playwright>=1.50",  # drives the report in a Chromium that is on the machine
            "openai>=2.0",  # the client of the judge behind an endpoint
            *BUCKETS,
            "gcp-storage-emulator>=2026.7",
        ],
        "gcs": BUCKETS,
        "hub": ["datasets>=4.2"],  # benchmarks from the Hugging Face hub; the first that goes with huggingface_hub 1
        "judge": ["openai>=2.0"],
        "embeddings": ["sentence-transformers>=5.0"],
        "ray": ["ray>=2.40"],
        "tpu": ["jax[tpu]"],
        "cuda12": ["jax[cuda12]"],
        "hf": ["torch"],  # the reference of the parity tests with transformers
        "cuda13": ["jax[cuda13]"],
    },
)
