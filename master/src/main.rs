mod compile;
mod listen;
mod policy;
mod process;
mod program;
mod supervisor;
mod table;
fn main() {}
