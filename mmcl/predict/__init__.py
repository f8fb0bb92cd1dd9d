"""Try a trained model on files or texts; modules are imported when a name is first used.

>>> from mmcl.predict import open_recognizer, predict
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.predict.intents import Prediction as Prediction
    from mmcl.predict.intents import check_intents as check_intents
    from mmcl.predict.intents import predict as predict
    from mmcl.predict.intents import predictions_table as predictions_table
    from mmcl.predict.intents import ranked as ranked
    from mmcl.predict.intents import read_intents as read_intents
    from mmcl.predict.intents import written_intents as written_intents
    from mmcl.predict.recognizer import Guess as Guess
    from mmcl.predict.recognizer import Recognition as Recognition
    from mmcl.predict.recognizer import Recognizer as Recognizer
    from mmcl.predict.stored_models import open_recognizer as open_recognizer
    from mmcl.predict.stored_models import stored_models as stored_models

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
