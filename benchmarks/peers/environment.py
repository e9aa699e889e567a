"""The peers' Python environment."""

from __future__ import annotations

from pathlib import Path

from demo.pinned_environment import PinnedEnvironment


class PeersEnvironment(PinnedEnvironment):
    """A virtual environment with the peers, and nothing of ours."""

    def __init__(self) -> None:
        super().__init__(".venv-peers", Path(__file__).parent / "requirements.txt")
