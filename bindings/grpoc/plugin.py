"""The pytest plug-in: `assert_grpo`, a fixture that fails a test with the report's words."""
import pytest

from .program import verify


@pytest.fixture
def assert_grpo():
    """assert_grpo(dump, profile=None, choices=False, **options) passes where the dump is right, or right as
    the profile, and returns the Result. With choices, a known choice that is not the profile's passes too
    (exit code 3)."""

    def check(dump, profile=None, choices=False, **options):
        __tracebackhide__ = True
        result = verify(dump, profile=profile, **options)
        if not result.ok and not (choices and result.exit_code == 3):
            pytest.fail(result.text, pytrace=False)
        return result

    return check
