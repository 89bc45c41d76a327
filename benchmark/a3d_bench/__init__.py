"""The benchmark harness: scores any single-image head method under versioned protocols."""
