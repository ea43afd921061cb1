"""Settings that hold for all tests."""

from __future__ import annotations

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.helpers")

# Compilers may be busy beside these tests; how long an example takes says nothing here.
hypothesis.settings.register_profile(
    "armwheels", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("armwheels")
