//! The skeleton of every worker.
