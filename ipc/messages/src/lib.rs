//! What the services say to each other: one module for each hop.
