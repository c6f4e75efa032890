//! The type random.
