//! Shared test support: locating cases, fixtures and the built binary.
