//! The master: reads the table, supervises, and is all that runs with privileges. See README.md for what goes where.

mod admin;
pub mod compile;
mod halves;
pub mod links;
mod listen;
pub mod policy;
mod privileges;
mod process;
pub mod program;
pub mod run;
mod supervisor;
pub mod table;
