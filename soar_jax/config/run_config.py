"""The typed config of a run: all sections, and what follows from several keys."""

from __future__ import annotations

import dataclasses
from typing import Any

from soar_jax.config.analysis_section import AnalysisSection
from soar_jax.config.execution_sections import (
    CheckpointsSection,
    MeshSection,
    SamplingSection,
    TrackingSection,
)
from soar_jax.config.fields import Section, at_least, section, setting
from soar_jax.config.policy_sections import LoRASection, StudentSection, TeacherSection
from soar_jax.config.sections import (
    AUTO,
    SEED,
    WHOLE_MODELS_AT_ONCE,
    CurriculumSection,
    EvaluationSection,
    FinalSection,
    GradingSection,
    HardSubsetSection,
    InnerSection,
    ModelSection,
    OuterSection,
    PromotionSection,
    PromptsSection,
    SelfPlaySection,
    SourceSection,
    TransferSection,
)
from soar_jax.registry import registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """All that a run is told."""

    method: str = setting("", "name of the method", legacy="")
    scale: str = setting("", "name of the scale", legacy="")
    seed: int = setting(0, "seed of all draws, except for the choice of problems", SEED)
    num_outer_steps: int = setting(200, "outer steps at most", at_least(0), paper="200 (B.7)")
    source_run: str = setting(
        "",
        "workdir of a finished run of SOAR: start from its teacher, promotion questions and promoted student, and make "
        "no outer step",
        legacy="",
    )
    source_step: int = setting(
        0,
        "outer step of `source_run` whose state is taken; 0: its last",
        at_least(0),
        paper="200 on MATH, 170 on HARP (section 4)",
        legacy=0,
    )
    model: ModelSection = section(ModelSection, "the base model")
    lora: LoRASection = section(LoRASection, "adapters")
    problems: SourceSection = section(SourceSection, "problems, of which the hard ones become the target")
    transfer: TransferSection = section(TransferSection, "problems of another kind")
    prompts: PromptsSection = section(PromptsSection, "prompt templates")
    grading: GradingSection = section(GradingSection, "how answers are graded")
    hard_subset: HardSubsetSection = section(HardSubsetSection, "search for hard problems")
    outer: OuterSection = section(OuterSection, "outer loop")
    promotion: PromotionSection = section(PromotionSection, "promotion rule")
    inner: InnerSection = section(InnerSection, "inner loop")
    student: StudentSection = section(StudentSection, "students")
    teacher: TeacherSection = section(TeacherSection, "teacher")
    curriculum: CurriculumSection = section(CurriculumSection, "questions of the final students")
    final: FinalSection = section(FinalSection, "final students")
    self_play: SelfPlaySection = section(SelfPlaySection, "SeRL")
    analysis: AnalysisSection = section(AnalysisSection, "analysis of questions")
    evaluation: EvaluationSection = section(EvaluationSection, "tests")
    mesh: MeshSection = section(MeshSection, "mesh axes", execution_only=True)
    sampling: SamplingSection = section(SamplingSection, "sampling", execution_only=True)
    checkpoints: CheckpointsSection = section(CheckpointsSection, "checkpoints", execution_only=True)
    tracking: TrackingSection = section(TrackingSection, "trackers of metrics", execution_only=True)

    @property
    def num_students(self) -> int:
        """P = g * r students of an outer step; student p trains on dataset p // r."""
        return self.outer.num_datasets * self.outer.students_per_dataset

    @property
    def students_at_once(self) -> int:
        """Students of a wave, trained and measured together."""
        size, each = self.inner.students_at_once, self.outer.students_per_dataset
        if size > 0:
            return size
        if size == 0 or self.trained_lora is not None:
            return self.num_students
        waves = range(each, max(each, WHOLE_MODELS_AT_ONCE) + 1, each)
        return max(wave for wave in waves if self.num_students % wave == 0)

    @property
    def num_written(self) -> int:
        """G * n questions that the teacher writes in an outer step."""
        return self.outer.num_datasets * self.outer.questions_per_dataset

    @property
    def trains_students(self) -> bool:
        """Whether the teacher's reward comes from students that are trained in the outer loop."""
        return bool(registry("teacher.reward")[self.teacher.reward].trains_students)

    @property
    def promotes(self) -> bool:
        """Whether the outer loop may promote students."""
        return self.measures_students and self.promotion.promotes

    @property
    def measures_students(self) -> bool:
        """Whether the outer loop measures students on reward questions."""
        return self.num_outer_steps > 0 and self.trains_students

    @property
    def has_promoted(self) -> bool:
        """Whether there is a promoted student in the end: this run's, or that of `source_run`."""
        return self.promotes or (bool(self.source_run) and self.trains_students)

    def episode_steps(self, num_promotions: int) -> int:
        """Student steps of an episode of the inner loop after a number of promotions (paper, B.7)."""
        longer = self.inner.num_steps + num_promotions * self.inner.steps_per_promotion
        return max(self.inner.num_steps, min(longer, self.inner.max_steps))

    @property
    def embeds_questions(self) -> bool:
        """Whether questions that are not hard problems are compared by the model's own embeddings."""
        return self.analysis.embeddings == "model" and self.has_new_questions

    @property
    def has_new_questions(self) -> bool:
        """Whether the run has questions that are not hard problems: of its teacher, curriculum or final students."""
        of_final_students = not self.registered_curriculum.is_empty or self.final_students_that("writes_questions")
        return self.num_outer_steps > 0 or bool(of_final_students)

    @property
    def registered_curriculum(self) -> Any:
        """Facts about `curriculum.source`: a `soar.curricula.Curriculum`."""
        return registry("curriculum.source")[self.curriculum.source]

    @property
    def registered_schedule(self) -> Any:
        """Facts about `curriculum.schedule`: a `soar.curricula.Schedule`."""
        return registry("curriculum.schedule")[self.curriculum.schedule]

    def final_students_that(self, fact: str) -> tuple[str, ...]:
        """Kinds of final students for which a fact holds: a field of `soar.final_students.StudentKind`."""
        return tuple(name for name in self.final.students if getattr(registry("final.students")[name], fact))

    @property
    def trained_lora(self) -> LoRASection | None:
        """The adapters that are trained; None where the whole model is."""
        return self.lora if self.lora.rank else None

    @property
    def params_dtype(self) -> str:
        """Dtype of the base model's parameters in memory.

        What is trained is float32: in bfloat16 an update of 1e-6 would be rounded away.
        """
        return self.model.dtype if self.lora.rank else "float32"

    def for_platform(self, platform: str) -> RunConfig:
        """The config with `model.dtype` "auto" settled for devices of a platform ("cpu", "gpu" or "tpu")."""
        if self.model.dtype != AUTO:
            return self
        dtype = "float32" if platform == "cpu" else "bfloat16"
        return dataclasses.replace(self, model=dataclasses.replace(self.model, dtype=dtype))

    def num_curriculum_stages(self, num_promotions: int = 0) -> int:
        """Stages of the curriculum's questions, in a run of some number of promotions."""
        return int(self.registered_curriculum.num_stages(self, num_promotions))
