# SPDX-License-Identifier: Apache-2.0
"""The presets as mindcv models: `mindcv.create_model(name)` after `import swinv2_model.registry`."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Any

__all__: list[str] = []


def _entry(name: str) -> Callable[..., Any]:
    def create(
        pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **options: Any
    ) -> Any:
        from swinv2_model.registry import create_model, load_config

        if pretrained:
            raise ValueError(
                f"pretrained: nothing is downloaded; get {load_config(name)['card'].get('weights')} "
                "and give it as checkpoint_path to swinv2_model.registry.create_model."
            )
        return create_model(name, num_classes, in_channels, **options)

    create.__name__ = create.__qualname__ = name
    return create


def register(names: list[str]) -> bool:
    """Make the presets known to mindcv; False where it is not installed or does not import (then logged)."""
    if importlib.util.find_spec("mindcv") is None:
        return False
    try:
        from mindcv.models.registry import register_model
    except Exception as error:
        logging.getLogger("swinv2_model").warning("mindcv is installed but does not import: %s", error)
        return False
    for name in names:
        register_model(_entry(name))
    return True
