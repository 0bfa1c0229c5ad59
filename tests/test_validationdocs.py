"""The pages of validation are what the stored figures say."""

from __future__ import annotations

import json

import pytest

from tests.validationdocs import DATA, PAGES, PART, PARTS, refreshed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_stored_figures(page) -> None:  # type: ignore[no-untyped-def]
    text = page.read_text()
    assert len(PART.findall(text)) == (1 if page.name == "README.md" else len(PARTS) - 1)
    assert refreshed(text, json.loads(DATA.read_text())) == text
