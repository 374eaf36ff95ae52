"""Compiles a run's programs for TPUs or GPUs that are not here, and says what each takes and whether it fits."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from soar_jax import parallel
from soar_jax.config.run_config import RunConfig
from soar_jax.errors import SettingsError
from soar_jax.model import attention
from soar_jax.model.config import ModelConfig
from soar_jax.planning.collectives import collectives
from soar_jax.runs.memory import AbstractRun
from soar_jax.runs.memory_fit import fit_to_memory
from soar_jax.runs.programs import Program, RunPrograms
from soar_jax.telemetry.devices import GPU, Device

_OUT_OF_MEMORY = re.compile(r"Used ([\d.]+)([KMGT]?) of")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# XLA chooses kernels by timing them on the GPU; without that, matrix products by Triton do not compile.
_COMPILER_OPTIONS: dict[str, dict[str, str | bool]] = {
    GPU: {"xla_gpu_autotune_level": "0", "xla_gpu_enable_triton_gemm": False}
}
_HELP = {
    "state": "mesh.fsdp up, lora.rank, or with promotion.student=window_best promotion.window down",
    "population": "inner.students_at_once, final.num_replicas or mesh.population down, mesh.fsdp up, or lora.rank",
    "sampling": "sampling.max_slots or population_batch down, model.int8_cache where it is off, or mesh.tensor up",
    "training": "remat='layers'; rows_per_micro_batch, inner.update_batch or logprob_chunk_tokens down; mesh.fsdp up",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a compiled program takes on one device, in bytes.

    The compiler counts temporaries that lie where a donated argument lay, or an output will, as if they had a place of
    their own: the sum of the parts is an upper bound. Its own peak counts them once, but also, of small programs a
    large part, what lies in the chip's fast memory.
    """

    program: Program
    place: int  # of the program in the order of a run
    compile_s: float
    arguments: int
    outputs: int  # that do not lie where arguments lay
    temporaries: int  # of the compiler's total where it found that the program does not fit
    code: int
    fullest: int  # arguments, outputs and temporaries at the moment when most is alive
    beside: dict[str, int]  # what else of the run lives while it runs
    collectives: dict[str, tuple[int, int]]  # {kind: (instructions, bytes)}; empty where it does not fit
    capacity: float  # of the device

    @property
    def needed(self) -> int:
        """All of it at most."""
        return self.arguments + self.outputs + self.temporaries + self.code + sum(self.beside.values())

    @property
    def peak(self) -> int:
        """What is alive at the fullest moment."""
        return self.fullest + self.code + sum(self.beside.values())

    @property
    def fits(self) -> bool:
        """Whether one device holds it."""
        return self.needed <= self.capacity

    @property
    def largest(self) -> tuple[str, int]:
        """The largest consumer, by name."""
        kinds = {"arguments": self.arguments, "outputs": self.outputs, "temporaries": self.temporaries, **self.beside}
        return max(kinds.items(), key=lambda item: item[1])

    @property
    def advice(self) -> str:
        """Settings that would make it smaller."""
        name = self.largest[0]
        if name == "temporaries":
            is_training = any(part in self.program.name for part in ("updating", "reference"))
            return _HELP["training" if is_training else "sampling"]
        return _HELP["population" if self.program.population else "state"]


def abstract_run(config: RunConfig, model: ModelConfig, device: Device, devices: Sequence[Any]) -> AbstractRun:
    """A config's run on its mesh over devices of a kind.

    Raises:
      SettingsError: the config does not fit the mesh.
    """
    sizes = config.mesh
    mesh = parallel.make_mesh(sizes.population, data=sizes.data, fsdp=sizes.fsdp, tensor=sizes.tensor, devices=devices)
    attention.check(config.model, mesh)
    model = attention.choose(config.model, model, mesh)
    return AbstractRun(fit_to_memory(config, model, mesh, memory_bytes=device.memory_bytes), model, mesh)


def compile_all(run: AbstractRun, device: Device, only: str = "", num_threads: int = 1) -> Iterator[Compiled]:
    """Compiles the programs whose names hold `only`, side by side in threads, and yields each when it is done.

    Raises:
      SettingsError: as `compile_program`, or the compiler's text cannot be read.
    """
    state, population = run.state(), run.population()

    def compile(place: int, program: Program) -> Compiled:
        alive = state | {name: population[name] for name in program.population}
        beside = {name: size for name, size in alive.items() if name not in program.inputs}
        return _compile(program, place, beside=beside, device=device)

    programs = [program for program in RunPrograms(run).programs() if only in program.name]
    with concurrent.futures.ThreadPoolExecutor(num_threads) as threads:
        compiling = [threads.submit(compile, place, program) for place, program in enumerate(programs)]
        try:
            for done in concurrent.futures.as_completed(compiling):
                yield done.result()
        finally:  # after an error, programs that have not begun are cancelled
            threads.shutdown(cancel_futures=True)


def compile_program(program: Program, device: Device) -> jax.stages.Compiled:
    """Compiles one program for a topology's devices.

    Raises:
      SettingsError: attention by cuDNN was chosen, and cuDNN is not installed.
    """
    try:
        lowered = program.lower()
    except RuntimeError as error:
        if "cuDNN" not in str(error):
            raise
        raise SettingsError(
            'attention by cuDNN compiles only where cuDNN is installed: pip install "jax[cuda13]", or choose '
            "--config.model.attention=plain"
        ) from None
    return lowered.compile(compiler_options=_COMPILER_OPTIONS.get(device.platform))


def _text(compiled: jax.stages.Compiled) -> str:
    try:
        return compiled.as_text() or ""
    except jax.errors.JaxRuntimeError as error:  # an instruction that this jaxlib does not know
        raise SettingsError(
            f"jaxlib cannot read what the compiler made ({str(error).splitlines()[0][:200]}); the two are of different "
            "versions, so install them together: pip install 'soar-jax[tpu]' or 'soar-jax[cuda13]'"
        ) from None


def _compile(program: Program, place: int, beside: dict[str, int], device: Device) -> Compiled:
    started = time.perf_counter()
    try:
        compiled = compile_program(program, device)
    except jax.errors.JaxRuntimeError as error:
        used = _OUT_OF_MEMORY.search(str(error))
        if used is None:
            raise
        total = int(float(used[1]) * _UNITS[used[2]])
        compile_s = time.perf_counter() - started
        return Compiled(
            program=program,
            place=place,
            compile_s=compile_s,
            arguments=0,
            outputs=0,
            temporaries=total,
            code=0,
            fullest=total,
            beside=beside,
            collectives={},
            capacity=min(device.memory_bytes, total - 1),
        )
    memory, text = compiled.memory_analysis(), _text(compiled)
    assert memory is not None
    return Compiled(
        program=program,
        place=place,
        compile_s=time.perf_counter() - started,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        fullest=memory.peak_memory_in_bytes,
        beside=beside,
        collectives=collectives(text),
        capacity=device.memory_bytes,
    )
