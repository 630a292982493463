"""The thread pool, atomic counters, memory and compilation."""
