//! The driver Oci for real: containers, a bridge, packets. Needs root and namespaces of its own, so that
//! nothing of the machine is touched and nothing stays behind: see `tests/testbed`.

mod bed;
mod hostile;
mod images;
mod life;
mod robust;
mod security;
