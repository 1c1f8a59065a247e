//! The integration tests of mlc: one binary, whose cases are data.

mod cli;
mod docs;
mod library;
mod random;
mod tidy;
mod train;
mod transfers;
