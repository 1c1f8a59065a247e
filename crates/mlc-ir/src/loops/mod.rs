//! The loop IR: kernels after fusion and before code.
