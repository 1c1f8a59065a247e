//! mlc-passes
