//! Memory that the kernel's forgetting has freed goes back to the machine: one `find` over all instances must not set
//! what nfio takes from then on.

/// Room for so many nodes is worth giving back. What is left pins the pages that it lies in, a few each.
pub(super) const LARGE: usize = 128;

/// Gives freed memory back.
pub(super) fn give_back() {
    // Other C libraries do so by themselves, or not at all.
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and releases only pages that no allocation uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
