"""Functions are short and have few parameters, calls pass values by name, and names of tests are short.

CONTRIBUTING.md has the rules. A function that breaks the one on its size has a comment that says why: on the line of
its `def`, or directly above it and its decorators.
"""

import ast
import collections
import io
import pathlib
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = [*(ROOT / "soar_jax").rglob("*.py")]
# Without hidden folders, which have the environments of benchmarks.
AROUND_IT = [
    path
    for folder in ("benchmarks", "configs", "examples", "experiments")
    for pattern in ("*.py", "[!.]*/**/*.py")
    for path in (ROOT / folder).glob(pattern)
]
TESTS = [*(ROOT / "tests").rglob("*.py")]
MAX_POSITIONAL = 3  # values of a call; the first of a method, self, is not counted
MAX_LINES = 40  # of code in a function's body: without signature, docstring, comments and blank lines
MAX_PARAMETERS = 6  # without self and cls
MAX_TEST_NAME = 60  # characters
# Functions that may be called with more positional values, and why.
POSITIONAL = {
    "function": "the entry of a registry, which a user may have written",
    "layer_step": "jax.checkpoint and jax.lax.scan pass by position",
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def takes_any_number(sources):
    """By name, whether a function or class of the package that is called so takes any number of positional values.

    Programs that are compiled ahead take their arrays by position, so they count as such.
    """
    found = collections.defaultdict(bool)
    for tree in map(ast.parse, sources):
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                is_compiled = any("ahead_jit" in ast.unparse(decorator) for decorator in node.decorator_list)
                found[node.name] |= node.args.vararg is not None or is_compiled
            elif isinstance(node, ast.ClassDef):
                found[node.name] |= False
    return found


def positional_calls(source, known):
    """Yields the line and the name of each call with too many positional values of a function that is known."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and len(node.args) > MAX_POSITIONAL:
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in known and not known[name]:
                yield node.lineno, name


def lines_of_code(source):
    """Numbers of the lines with anything but comments."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = [range(token.start[0], token.end[0] + 1) for token in tokens if token.type not in NO_CODE]
    return set().union(*lines)


def large_functions(source):
    """Yields the name, lines and parameters of each function with too many of either and without a reason."""
    lines, code = source.splitlines(), lines_of_code(source)
    for node in functions(ast.parse(source)):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        num_lines = len(code & set(range(body[0].lineno, node.end_lineno + 1))) if body else 0
        names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        num_parameters = len([name for name in names if name not in ("self", "cls")])
        first = min(part.lineno for part in (node, *node.decorator_list))
        above = lines[first - 2] if first > 1 else ""
        has_reason = above.lstrip().startswith("#") or "#" in lines[node.lineno - 1]
        if (num_lines > MAX_LINES or num_parameters > MAX_PARAMETERS) and not has_reason:
            yield node.name, num_lines, num_parameters


def test_calls_with_many_positional_values_are_seen():
    package = ["def f(a, b, c, d): ...\nclass C:\n    def g(self, *a): ...", "@ahead_jit(x=1)\ndef j(a, b, c, d): ..."]
    calls = ("f(1, 2, 3, 4)", "f(1, 2, 3, d=4)", "m.f(1, 2, 3, 4)", "C(1, 2, 3, 4)", "c.g(1, 2, 3, 4)", "j(1, 2, 3, 4)")
    source = "\n".join((*calls, "max(1, 2, 3, 4)"))
    assert list(positional_calls(source, takes_any_number(package))) == [(1, "f"), (3, "f"), (4, "C")]


def test_calls_pass_values_by_name_from_the_fourth():
    sources = {path: path.read_text("utf-8") for path in PACKAGE}
    known = takes_any_number(sources.values()) | dict.fromkeys(POSITIONAL, True)
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path, source in sources.items()
        for line, name in positional_calls(source, known)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("head", "num_lines", "is_seen"),
    [
        ("def f(a, b, c, d, e, f):", 40, False),
        ("def f(a, b, c, d, e, f):", 41, True),
        ("def f(a, b, c, d, e, f, *, g):", 1, True),
        ("def f(self, b, c, d, e, f, g):", 1, False),
        ("def f(a, b, c, d, e, f, g):  # a reason", 1, False),
        ("# A reason.\n@cached\ndef f(a, b, c, d, e, f, g):", 41, False),
        ("# No reason, by its distance.\n\n@cached\ndef f(a, b, c, d, e, f, g):", 1, True),
    ],
)
def test_large_functions_are_seen(head, num_lines, is_seen):
    body = '    """Does something.\n\n    More.\n    """\n\n    # why\n' + "    x = 1\n" * num_lines
    assert bool([*large_functions(f"{head}\n{body}")]) == is_seen


@pytest.mark.parametrize("path", [*PACKAGE, *AROUND_IT], ids=lambda path: str(path.relative_to(ROOT)))
def test_large_functions_have_a_reason(path):
    assert [*large_functions(path.read_text("utf-8"))] == []


def test_names_of_tests_are_short():
    found = {path: [node.name for node in functions(ast.parse(path.read_text("utf-8")))] for path in TESTS}
    names = [(path.name, name) for path, names in found.items() for name in names if name.startswith("test_")]
    assert [pair for pair in names if len(pair[1]) > MAX_TEST_NAME] == []
