//! mlc-frontend
