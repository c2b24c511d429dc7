"""The browser for all tests of pages."""

from tests.browser import chromium, opened

__all__ = ["chromium", "opened"]
