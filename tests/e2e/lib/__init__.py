"""What end-to-end cases and benchmarks share: a private root, a private network, the system under test, clients."""
