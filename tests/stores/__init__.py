import pytest

# The contract is no test file, and its assertions are to say as much as a test's.
pytest.register_assert_rewrite("tests.stores.contract", "tests.stores.greenlets", "tests.stores.processes")
