"""Imports point one way: between groups of rooms, between rooms, and between modules.

A room is a package or a module of `soar_jax`. docs/design.md lists the groups.
"""

import ast
import graphlib
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "soar_jax"
GROUPS = {
    "base": (
        "config",
        "model",
        "checkpoints",
        "parallel",
        "storage",
        "types",
        "rng",
        "errors",
        "integers",
        "registry",
        "command_line",
    ),
    "compute": ("rl", "sampling", "grading", "problems", "telemetry"),
    "learn": ("soar", "evaluation"),
    "run": ("runs",),
    "tools": ("api", "cli", "studies", "planning", "report", "pretraining"),
}
GROUP_OF = {room: group for group, rooms in GROUPS.items() for room in rooms}
RANK = {group: rank for rank, group in enumerate(GROUPS)}
OUTSIDE = {"configs", "experiments", "benchmarks", "tests"}  # they import the package, never the other way
# What a room may import besides itself, where that is narrower than its group.
NARROW = {
    "errors": set(),
    "integers": set(),
    "types": set(),
    "registry": {"errors"},  # entries are imported by their place, as text, when one is needed
    "config": {"errors", "integers", "registry"},
    "storage": {"errors", "parallel"},
    "checkpoints": {"errors", "model", "parallel", "registry", "storage", "types"},
}
UNTYPED = ("Any", "typing.Any", "object")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def imported(source, inside_functions=True):
    """Yields full names of imports: `from a import b` is a.b."""
    waiting = [ast.parse(source)]
    while waiting:
        node = waiting.pop(0)
        if inside_functions or not isinstance(node, FUNCTIONS):
            waiting[:0] = ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports have full names"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(name):
    """The module of the package that holds an imported name; empty for other packages."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def room_of(module):
    return module.split(".")[1]


def edges(inside_functions=True):
    """Imports within the package: pairs of importing module and full name."""
    for module, source in MODULES.items():
        for name in imported(source, inside_functions):
            if name.split(".")[0] == "soar_jax":
                yield module, name


def room_edges():
    """Imports between different rooms: importing module, its room, the other room."""
    for module, name in edges():
        assert module != "soar_jax", "the package itself imports nothing of its rooms"
        assert module_of(name) != "soar_jax", f"{module} imports {name}, which is no room"
        room, other = room_of(module), room_of(module_of(name))
        if room != other:
            yield module, room, other


def circle(graph):
    """The nodes of one circle; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import soar_jax.soar.job", ["soar_jax.soar.job"]),
        ("import soar_jax.rng as r, tests", ["soar_jax.rng", "tests"]),
        ("from soar_jax import rng, types", ["soar_jax.rng", "soar_jax.types"]),
        ("from soar_jax.model.config import A as B", ["soar_jax.model.config.A"]),
        ("def f():\n    from configs import scales", ["configs.scales"]),
        ("class A:\n    import b\nasync def f():\n    import c\nif A:\n    import d", ["b", "c", "d"]),
    ],
)
def test_every_form_of_import_is_seen(source, names):
    assert list(imported(source)) == names


def test_imports_inside_functions_can_be_left_out():
    source = "import a\nclass B:\n    import b\n    def f(self):\n        import c\nif a:\n    import d"
    assert list(imported(source, inside_functions=False)) == ["a", "b", "d"]


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def test_every_room_belongs_to_a_group():
    rooms = {room_of(module) for module in MODULES if module != "soar_jax"}
    assert rooms == GROUP_OF.keys()


def test_rooms_import_from_their_own_group_and_those_below():
    upward = [
        f"{module} ({GROUP_OF[room]}) imports from {other} ({GROUP_OF[other]})"
        for module, room, other in room_edges()
        if RANK[GROUP_OF[other]] > RANK[GROUP_OF[room]]
    ]
    assert upward == []


@pytest.mark.parametrize("room", sorted(NARROW))
def test_rooms_at_the_bottom_import_little(room):
    assert {other for _, own, other in room_edges() if own == room} <= NARROW[room]


@pytest.mark.parametrize("group", GROUPS)
def test_rooms_of_a_group_use_each_other_one_way(group):
    graph = {room: set() for room in GROUPS[group]}
    for _, room, other in room_edges():
        if GROUP_OF[room] == GROUP_OF[other] == group:
            graph[room].add(other)
    assert circle(graph) == []


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: set() for module in MODULES}
    for module, name in edges(inside_functions=False):
        graph[module] |= {module_of(name)} - {module}
    assert circle(graph) == []


def test_nothing_that_runs_imports_planning():
    assert not [module for module, room, other in room_edges() if other == "planning" and room != "cli"]


def test_the_package_imports_nothing_of_what_is_built_on_it():
    built_on_it = [
        (module, name)
        for module, source in MODULES.items()
        for name in imported(source)
        if name.split(".")[0] in OUTSIDE
    ]
    assert built_on_it == []


def untyped_configs(source):
    """Parameters and fields for a config or a section of it that are annotated `Any`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg) and re.search(r"(^|_)(config|section)$", node.arg):
            annotation = ast.unparse(node.annotation) if node.annotation else ""
            yield from [node.arg] * (annotation in UNTYPED)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(config: Any, *, own_section: typing.Any): ...", ["config", "own_section"]),
        ("class A:\n    async def f(self, run_config: object): ...", ["run_config"]),
        ("def f(config: RunConfig, saved: Any, raw_config: dict[str, Any], configs: Any): ...", []),
    ],
)
def test_untyped_configs_are_seen(source, names):
    assert list(untyped_configs(source)) == names


def test_no_function_takes_an_untyped_config():
    found = {module: list(untyped_configs(source)) for module, source in MODULES.items()}
    assert {module: names for module, names in found.items() if names} == {}
