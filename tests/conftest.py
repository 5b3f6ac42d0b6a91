"""Fixtures that several test files share."""

import pytest

from m4kit.explore.canvas import Canvas


@pytest.fixture
def sent(monkeypatch):
    """All that any canvas sends, as (content, buffers)."""
    messages = []
    monkeypatch.setattr(
        Canvas, "send", lambda self, content, buffers=None: messages.append((content, buffers or []))
    )
    return messages
