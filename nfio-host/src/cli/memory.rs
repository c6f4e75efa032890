//! How the C library's allocator is to behave in a process that serves for months.

/// Blocks of this size and more, in bytes, are given back to the machine as soon as they are free.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 4 << 20;

/// Fixes from which size on blocks stand apart. Left to itself the C library raises that with the first large block
/// that is freed, and a plugin of 20 MB that once passed through memory stays resident from then on.
pub(super) fn settle() {
    // Other C libraries have no such habit.
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and changes what is allocated from now on.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
