pub mod mutf7;
