"""Real servers as private processes of the test run."""
