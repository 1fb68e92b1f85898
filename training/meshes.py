from pathlib import Path


def build_turntables(root: Path, target: Path) -> None:
    raise NotImplementedError
