//! The driver Docker, on engines of the test bed.

mod life_cycle;
