//! The jail of a worker, and the system calls behind it.
