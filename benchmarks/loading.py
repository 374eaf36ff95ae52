"""Measures host memory and time of loading a model: `python benchmarks/loading.py --model=FOLDER|GGUF`.

Prints the size of the files and of the arrays, and the peak memory above the arrays, with and without the pages of
mapped files, which the system can reclaim.
"""

import pathlib
import threading
import time

import jax
from absl import app, flags

from soar_jax.checkpoints.base_model import load_model
from soar_jax.parallel import make_mesh

MODEL = flags.DEFINE_string("model", None, "A Hugging Face folder or a GGUF file.", required=True)
DTYPE = flags.DEFINE_string("dtype", "float32", "Dtype of the arrays.")
PERIOD_S = 0.002
KINDS = ("RssAnon", "RssFile")


class PeakMemory(threading.Thread):
    """Samples this process's resident memory in GiB; `peak` is (anonymous, anonymous and mapped) above the start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before, self.peak, self.is_done = _resident(), (0.0, 0.0), False

    def run(self) -> None:
        """Samples until `is_done` is set."""
        while not self.is_done:
            now = _resident()
            above = now["RssAnon"] - self.before["RssAnon"]
            mapped = above + now["RssFile"] - self.before["RssFile"]
            self.peak = max(self.peak[0], above), max(self.peak[1], mapped)
            time.sleep(PERIOD_S)


def _resident() -> dict[str, float]:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {kind: int(fields[kind].split()[0]) / 2**20 for kind in KINDS}


def main(_: list[str]) -> None:
    """Loads the model once and prints the figures."""
    jax.block_until_ready(jax.numpy.zeros(1))
    path = pathlib.Path(MODEL.value)
    files = list(path.glob("*.safetensors")) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files) / 2**30
    memory, started = PeakMemory(), time.perf_counter()
    memory.start()
    base = load_model(str(path), DTYPE.value, mesh=make_mesh(-1))
    jax.block_until_ready(base.params)
    seconds, memory.is_done = time.perf_counter() - started, True
    arrays = sum(leaf.nbytes for leaf in jax.tree.leaves(base.params)) / 2**30
    above, mapped = (peak - arrays for peak in memory.peak)
    print(f"{len(files)} file(s), {size:.3f} GiB; arrays {arrays:.3f} GiB; {seconds:.1f} s")
    print(f"most host memory above the arrays: {above:.3f} GiB = {above / size:.2f} of the files' size")
    print(f"with pages of mapped files: {mapped:.3f} GiB = {mapped / size:.2f}")


if __name__ == "__main__":
    app.run(main)
