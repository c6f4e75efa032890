//! The type firewall.
