//! Policies of `auth`, each a small struct without clock or input and output: `now` comes in, decisions go out.

mod cache;
mod delay;
mod penalty;
mod ticket;

pub use cache::{Cache, CacheKey, Limits};
pub use delay::{FailureQueue, TICK};
pub use penalty::{Attempt, MAX_ADDRESSES, Penalties};
pub use ticket::{Bearer, MAX_TICKETS, Ticket, TicketError, Tickets};
