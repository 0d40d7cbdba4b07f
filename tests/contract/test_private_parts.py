"""Private parts of kafka-python are used in two modules, a counted number of times."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent / "worker" / "kafka"
PRIVATE = {"record_batches.py": 8, "workarounds.py": 7}
"""Accesses by module; together at most 15. To add one is to say why in its docstring."""


def accesses(code: str) -> list[str]:
    """Return the attributes with one leading underscore of anything but `self` and `cls`."""
    return [
        node.attr
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


def test_the_count_sees_each_access() -> None:
    code = "a._b; self._c; cls._d; self._e._f; a().__class__; a._g = a._h()"
    assert sorted(accesses(code)) == ["_b", "_f", "_g", "_h"]


def test_private_parts_are_used_in_two_modules_so_many_times() -> None:
    counts = {path.name: len(accesses(path.read_text("utf-8"))) for path in PACKAGE.glob("*.py")}
    assert {name: count for name, count in counts.items() if count} == PRIVATE
    assert sum(PRIVATE.values()) <= 15


def test_no_class_of_another_is_changed() -> None:
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert "__class__" not in path.read_text("utf-8")
        names = {
            alias.asname or alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        for node in tree.body:  # what runs when the module is imported
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                owner = target.value if isinstance(target, ast.Attribute) else None
                assert not (isinstance(owner, ast.Name) and owner.id in names), path
