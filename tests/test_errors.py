import inspect
import re

from mmcl import errors


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = dict(
        (name, len(indent.replace("├── ", "│   ").replace("└── ", "    ")) // 4)
        for indent, name in re.findall(r"^    ([│├└─ ]*)(\w+Error)\b", errors.__doc__, flags=re.MULTILINE)
    )
    classes = {
        name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
    }
    depths = {
        name: len([base for base in kind.__mro__ if base.__module__ == errors.__name__]) - 1
        for name, kind in classes.items()
    }
    assert drawn == depths
