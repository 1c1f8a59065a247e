//! The integration tests of mlc.

mod docs;
