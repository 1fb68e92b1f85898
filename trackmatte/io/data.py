"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any


def load_json(text: str | bytes) -> Any:
    """The data of a JSON text; NaN and Infinity are let through, as Python does.

    Raises:
        ValueError: it isn't JSON, or nested beyond reason.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as exc:  # Python's limit on the digits of a number
        raise ValueError("a number in it has too many digits") from exc
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc
