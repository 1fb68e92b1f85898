"""A device that is no CPU, of shapes without numbers: what would make a GPU wait is seen without one.

Tensors are torch's `meta` ones. Whoever asks for a number of theirs, or copies to or from them, is noted with the line
that did.
"""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from trackmatte.tracker.architecture import build, read_config
from trackmatte.tracker.model import Model
from trackmatte.tracker.network import Network
from trackmatte.tracker.twins import NetworkOptions

ELSEWHERE = torch.device("meta")
ANSWERS = {torch.bool: True, torch.int64: 1, torch.int32: 1}
INNER = (str(Path(torch.__file__).parent), __file__)
aten = torch.ops.aten


def model_elsewhere(spec, **options):
    """A Model whose weights have no numbers; options of `NetworkOptions`."""
    modules = build(read_config(spec.config))
    for module in modules.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(value.detach().to(ELSEWHERE), requires_grad=False)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = value.to(ELSEWHERE)
    options = NetworkOptions(**options)
    return Model(spec.name, Network(modules, options), ELSEWHERE, options.dtype)


class Waits:
    """Counts, within a `with`, what a GPU would be waited for, by what it is and where; numbers asked for are made up.

    Attributes:
        waits: how often, by what and where.
        uploads: copies to the device, those that are not waited for too.
    """

    def __init__(self):
        self.waits = Counter()
        self.uploads = 0
        self._modes = ExitStack()

    def note(self, what):
        stack = [frame for frame in traceback.extract_stack() if not any(part in frame.filename for part in INNER)]
        self.waits[what, f"{Path(stack[-1].filename).name}: {stack[-1].line}"] += 1

    def __enter__(self):
        self._modes.enter_context(_Operations(self))
        self._modes.enter_context(_Calls(self))
        return self

    def __exit__(self, *error):
        self._modes.close()


class _Operations(TorchDispatchMode):
    """What torch does."""

    def __init__(self, waits):
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default and args[0].device == ELSEWHERE:
            self._waits.note("a number")
            return ANSWERS.get(args[0].dtype, 1.0)
        if func is aten.nonzero.default and args[0].device == ELSEWHERE:
            self._waits.note("places")
            return args[0].new_zeros(1, args[0].dim(), dtype=torch.int64)
        if func is aten._to_copy.default:
            source, target = args[0].device, torch.device(kwargs.get("device") or args[0].device)
            if source == ELSEWHERE and target.type == "cpu":
                self._waits.note("a download")
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            if source != target:
                self._waits.uploads += 1
                if not kwargs.get("non_blocking"):
                    self._waits.note("an upload")
        if func is aten.copy_.default and args[0].device != args[1].device:
            self._waits.note("a copy")
            return args[0]
        with self:
            made = func.decompose(*args, **kwargs)  # in inference mode operations come whole
        return func(*args, **kwargs) if made is NotImplemented else made


class _Calls(TorchFunctionMode):
    """What is asked of torch: uploads that it does within other operations."""

    def __init__(self, waits):
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and "device" in kwargs:
            if torch.device(kwargs["device"]) == ELSEWHERE:
                self._waits.note("an upload")
        elif func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].device == ELSEWHERE:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in index):
                self._waits.note("places")
            elif any(isinstance(part, (list, np.ndarray)) for part in index) or any(
                isinstance(part, torch.Tensor) and part.device != ELSEWHERE for part in index
            ):
                self._waits.note("an upload")
        return func(*args, **kwargs)
