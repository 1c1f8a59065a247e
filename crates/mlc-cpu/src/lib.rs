//! mlc-cpu
