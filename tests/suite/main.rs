//! The integration tests of mlc.
