"""Config sections of objectives, found in the folder of objectives and made from their constructors."""

from __future__ import annotations

import ast
from functools import cache
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, create_model

import mmcl
from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of
from mmcl.text.suggest import did_you_mean

if TYPE_CHECKING:
    from mmcl.objectives.objective import Objective

#: Inputs that the class-incremental loop provides, by their names in ``Objective.takes``.
IN_STRATEGIES = ("a", "b", "views", "features", "labels", "rows", "bags")
#: Inputs that the trainer of towers provides: of episodes, a momentum encoder, a salient encoder and a regression too.
AVAILABLE = (*IN_STRATEGIES, "is_support", "teacher", "salient", "is_target", "targets", "predictions")


@cache
def objectives(available: tuple[str, ...] = AVAILABLE) -> dict[str, str]:
    """Return the objectives that take no other inputs than those available, as ``"module:class"`` by file name.

    A new file in the folder of objectives is found automatically. Files are parsed, not imported.

    >>> objectives()["clip"]
    'mmcl.objectives.clip:CLIPLoss'
    """
    found = {}
    for path in sorted((Path(mmcl.__file__).parent / "objectives").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Objective" for base in node.bases):
                attributes = {
                    ast.unparse(each.targets[0]): each.value for each in node.body if isinstance(each, ast.Assign)
                }
                takes = ast.literal_eval(attributes["takes"]) if "takes" in attributes else ("a", "b")
                if set(takes) <= set(available):
                    found[path.stem] = f"mmcl.objectives.{path.stem}:{node.name}"
    return found


def name_and_temperature(text: str) -> tuple[str, float | None]:
    """Split the name of an objective from its temperature, None if it has none.

    Raises:
        ValueError: the objective is unknown, or its temperature is not a number greater than 0.

    >>> name_and_temperature("nt_xent@0.5"), name_and_temperature("clip")
    (('nt_xent', 0.5), ('clip', None))
    """
    name, at, number = text.partition("@")
    if name not in objectives():
        raise ValueError(f"'{name}' is not an objective, {did_you_mean(name, objectives())}")
    if not at:
        return name, None
    try:
        temperature = float(number)
    except ValueError:
        temperature = nan
    if not 0 < temperature < inf:
        raise ValueError(f"'{text}' has temperature '{number}', expected a number greater than 0, such as {name}@0.1")
    return name, temperature


def _known(text: str) -> str:
    for term in text.split("+"):
        name_and_temperature(term)
    return text


#: One of :func:`objectives`, or several joined by ``+``, which are summed.
ObjectiveName = Annotated[str, AfterValidator(_known)]
OBJECTIVE_HELP = (
    f"one or more of {', '.join(objectives())}; with a temperature of its own, such as nt_xent@0.5, or a sum, such as "
    "l1+conr@0.1"
)


def _section(source: str) -> type[StrictModel]:
    section = type("ObjectiveSection", (StrictModel,), {"__doc__": "Settings of an objective.", "__module__": __name__})
    return section_of(source, without=("temperature", "block_size", "gather"))(section)


def make_objective(
    name: str, settings: StrictModel, temperature: float, *, learn_temperature: bool = False, gather: bool = False
) -> Objective:
    """Build an objective by name.

    Args:
        name: one of :func:`objectives`, with ``@`` and a number if it has a temperature of its own.
        settings: an :data:`ObjectivesSection`.
        temperature: temperature; its initial value if it is learned.
        learn_temperature: make the temperature a trained parameter, as in CLIP.
        gather: compare with samples of all processes, see :func:`~mmcl.objectives.weighted_info_nce`.
    """
    from importlib import import_module

    from mmcl.objectives import LearnableTemperature

    name, fixed = name_and_temperature(name)
    temperature = temperature if fixed is None else fixed
    module, _, class_name = objectives()[name].partition(":")
    own = getattr(settings, name).model_dump() if hasattr(settings, name) else {}
    scale = LearnableTemperature(temperature) if learn_temperature else temperature
    objective: Objective = getattr(import_module(module), class_name)(scale, gather=gather, **own)
    return objective


_SECTIONS = {name: section for name, source in objectives().items() if (section := _section(source)).model_fields}
_FIELDS: dict[str, Any] = {name: (section, section()) for name, section in _SECTIONS.items()}

#: A section for each objective that has settings other than its temperature, by the objective's name.
if TYPE_CHECKING:
    ObjectivesSection = StrictModel
else:
    ObjectivesSection = create_model("ObjectivesSection", __base__=StrictModel, **_FIELDS)
