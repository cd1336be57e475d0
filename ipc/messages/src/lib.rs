//! What the services say to each other: one module for each hop, each with one enum for each direction, so that a message
//! in the wrong direction does not compile.
//!
//! Both ends of a channel are the same build; these types have no version. What is written to disk (the envelope) has one
//! of its own.

pub mod admin;
pub mod anvil;
pub mod auth;
pub mod bounce;
pub mod control;
pub mod delivery;
pub mod dns;
pub mod envelope;
pub mod handoff;
pub mod intake;
pub mod log;
pub mod lookup;
pub mod queue;
pub mod queue_id;
pub mod tls;
