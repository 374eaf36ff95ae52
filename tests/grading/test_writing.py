import pytest

from soar_jax.grading import arguments, glyphs, plain_text
from soar_jax.grading.writing import MAX_CHARACTERS, canonical

SPELLINGS = {
    "70": [
        r"\boxed{\huge{70}}",
        "**70**",
        "`70`",
        "70\\",
        r"{\bf 70}",
        r"\color{red}{70}",
        r"\fbox{70}",
        "{{70}}",
        "$70$.",
    ],
    r"\frac{1}{2}": [r"\dfrac12", r"\tfrac{1}2", "½", r"\\frac{1}{2}", r"\displaystyle\frac{ 1 }{ 2 }"],
    r"\sqrt{3}": ["√3", "sqrt(3)", r"\sqrt3", r"\sqrt 3"],
    "x^{10}": ["x^10", "x**10", "x^{10}", "x¹⁰"],
    r"x\le3": ["x <= 3", r"x \leq 3", r"x\leqslant 3", "x ≤ 3", "x=<3"],
    r"2\cdot\pi": ["2*pi", r"2 \times \pi", r"2\cdot \pi"],
    r"4.5\cdot10^{33}": ["4.5e33", r"4.5 \times 10^{33}", "4.5*10^33", "4.5 × 10³³"],
    r"\binom{n}{2}": [r"{n \choose 2}", r"n \choose 2", r"\dbinom n2"],
    r"5 \text{cm}": [r"5\,\mathrm{cm}", r"5~\textrm{cm}", r"5\ {\rm cm}"],
    "1000000": ["1,000,000", "1{,}000{,}000", r"1\,000\,000", "1 000 000", r"1,\!000,\!000"],
    r"\{1, 2\}": ["{1,2}", r"\left\{1,2\right\}", r"\lbrace 1, 2 \rbrace"],
    "x=1, y=2": [r"\begin{cases} x = 1 \\ y = 2 \end{cases}", "x = 1,y = 2"],
}


@pytest.mark.parametrize("written", SPELLINGS)
def test_spellings_of_one_answer(written):
    assert {text: canonical(text) for text in SPELLINGS[written]} == dict.fromkeys(SPELLINGS[written], written)


def test_blanks_before_letters_and_in_words_stay():
    assert [canonical(text) for text in ("5  m", r"\pi  r", r"\text{not  even}")] == [
        "5 m",
        r"\pi r",
        r"\text{not even}",
    ]


def test_digits_of_other_scripts_and_invisible_characters_stay():
    assert [canonical(text) for text in ("４２", "٤٢", "4\u200b2")] == ["４２", "٤٢", "4\u200b2"]


def test_long_or_empty_text_stays():
    long = "\\frac12" * MAX_CHARACTERS
    assert canonical(long) == long
    assert canonical(" $$ ") == "$$"


@pytest.mark.parametrize(
    ("text", "braced"),
    [
        (r"\frac a b", r"\frac{a}{b}"),
        (r"x^\frac12", r"x^{\frac{1}{2}}"),
        (r"\log_23", r"\log_{2}3"),
        (r"\log_10(5)", r"\log_{10}(5)"),
        ("x^-1", "x^{-1}"),
        (r"\sqrt[3]2", r"\sqrt[3]{2}"),
        ("x^(n+1)", "x^{n+1}"),
        (r"\frac{\sqrt3}2", r"\frac{\sqrt{3}}{2}"),
    ],
)
def test_arguments_get_braces(text, braced):
    assert arguments.brace(text) == arguments.brace(braced) == braced


@pytest.mark.parametrize("text", [r"\frac1", r"\sqrt", "x^", r"\frac{1}{", "^" * 1000, r"\frac" * 300, r"\sqrt{" * 300])
def test_missing_arguments_leave_the_text(text):
    assert arguments.brace(text) == text


def test_symbols_are_commands():
    assert glyphs.to_latex("2√12 ≤ x² ∪ ∞") == r"2\sqrt{12} \le  x^{2} \cup  \infty "
    assert glyphs.to_latex("3 m²") == r"3\text{ m}^{2}"
    assert glyphs.to_latex("2½") == r"2\frac{1}{2}"


def test_plain_text_in_words_stays():
    assert plain_text.to_latex(r"\text{sin pi} sin(pi)") == r"\text{sin pi} \sin(\pi)"
    assert plain_text.to_latex("15 min") == "15 min"
    assert plain_text.to_latex("2E5_{16}") == "2E5_{16}"
