//! mlc
