"""Parts of the benchmarks: each measures one thing and gives plain figures."""
