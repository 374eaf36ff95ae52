"""The paper's numbers (arXiv 2601.18778) for Llama-3.2-3B-Instruct, in percent."""

# Pass@1 and pass@32 on MATH's hard (fail@128) test problems; None where the text gives no number.
MATH: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("hard_only", "hard_only"): (0.5, 9.6),
    ("soar_math", "promoted_student"): (None, 18.1),
    ("soar_math", "curriculum"): (None, 18.9),
}
LEAST_GAIN = {1: 4.0, 32: 2.0}  # SOAR's pass@k over Hard-Only's, by k
SHARE_OF_CURATED = 0.75  # SOAR's gain over that of the full MATH train set
RIGHT_SHARE, WELL_POSED_SHARE = 32.8, 63.0  # of promotion questions
VENDI = {"untrained": "34.9", "soar_math": "32 to 34.7", "intrinsic_teacher": "10.8"}
