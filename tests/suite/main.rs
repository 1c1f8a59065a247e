//! The integration tests of mlc: one binary, whose cases are data.

mod accumulate;
mod bindings;
mod bits;
mod cli;
mod docs;
mod kernels;
mod library;
mod memory;
mod random;
mod tidy;
mod train;
mod transfers;
