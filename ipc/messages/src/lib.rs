//! What the services say to each other: one module for each hop.

pub mod envelope;
pub mod queue_id;
