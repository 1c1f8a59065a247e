//! mlc-runtime
