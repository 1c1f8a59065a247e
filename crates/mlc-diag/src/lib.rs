//! mlc-diag
