//! The master: reads the table, supervises, and is all that runs with privileges. See README.md for what goes where.

mod admin;
pub mod compile;
mod daemon;
mod halves;
pub mod links;
mod listen;
mod place;
pub mod policy;
mod privileges;
mod process;
pub mod program;
pub mod run;
mod signals;
mod supervisor;
pub mod table;
mod waiting;
