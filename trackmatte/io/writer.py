"""What all outputs share, whatever they are made of: how they end."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from trackmatte.io.atomic import PendingOutput

AnyWriter = TypeVar("AnyWriter", bound="Writer")


class Writer:
    """An output that is being written, and has its name when it is finished.

    As a context manager it is finished at the end of the block, or given up where that ends in an error.

    Attributes:
        pending: the file or folder that waits for its name.
    """

    pending: PendingOutput

    def complete(self, *, cut: bool = False) -> None:
        """Writes what is left, so that nothing but the name is missing.

        Args:
            cut: the clip goes on after the last frame.

        Raises:
            OutputError: it can't be written.
        """

    def finish(self) -> None:
        """`complete`, then takes its name. Raises OutputError."""
        self.complete()
        self.pending.commit()

    def abort(self) -> None:
        """Gives up: nothing stays behind, and what stood under the name is as it was. May be called again."""
        self.pending.discard()

    def __enter__(self: AnyWriter) -> AnyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.abort()
