"""Types of bounded numbers, for annotations whose range configs validate.

``def replay(..., memory_size: Count = 50)`` takes an int of 1 or more. Type checkers see a plain number.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

Positive: TypeAlias = Annotated[float, Gt(0)]  #: greater than 0
NonNegative: TypeAlias = Annotated[float, Ge(0)]  #: 0 or greater
Share: TypeAlias = Annotated[float, Ge(0), Le(1)]  #: 0 to 1
Factor: TypeAlias = Annotated[float, Gt(0), Le(1)]  #: greater than 0, up to 1
Probability: TypeAlias = Annotated[float, Ge(0), Lt(1)]  #: 0 or greater, below 1, such as a dropout rate
Count: TypeAlias = Annotated[int, Ge(1)]  #: 1 or more
AtLeastTwo: TypeAlias = Annotated[int, Ge(2)]  #: 2 or more
Size: TypeAlias = Annotated[int, Ge(0)]  #: 0 or more
