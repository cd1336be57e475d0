//! The intake journal, the queue files and the outcome log.

pub mod fs;
