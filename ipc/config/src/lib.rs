//! The configuration compiler.
