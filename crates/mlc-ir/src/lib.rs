//! mlc-ir
