//! What is asked of the kernel when it mounts.

use fuser::{BackingId, InitFlags, KernelConfig};

use crate::fs::passthrough::Passthrough;

/// What one request may carry; a `command` of 128 KiB is one.
const MAX_WRITE: u32 = 1 << 20;

/// Settles with the kernel what it can; passing files through, where it does that over backing files that are stacked
/// `stack_depth` deep.
pub(super) fn negotiate(config: &mut KernelConfig, stack_depth: u32) -> Option<Passthrough<BackingId>> {
    // AUTO_INVAL_DATA: pages and listings that the kernel keeps go when the time of modification is another.
    // KILLPRIV_V2: without it the kernel asks for security.capability at each write. No writeback cache: it
    // would exclude passthrough. No ACLs, no lock flags: the kernel keeps locks by itself.
    let wanted = InitFlags::FUSE_ATOMIC_O_TRUNC
        | InitFlags::FUSE_HANDLE_KILLPRIV_V2
        | InitFlags::FUSE_AUTO_INVAL_DATA
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_PARALLEL_DIROPS;
    if let Err(missing) = config.add_capabilities(wanted) {
        tracing::info!("this kernel's FUSE lacks {missing:?}");
        // What remains is asked for alone: none of them is needed for being right.
        let _ = config.add_capabilities(wanted & !missing);
    }
    if let Err(most) = config.set_max_write(MAX_WRITE) {
        let _ = config.set_max_write(most);
    }
    let passes = config.set_max_stack_depth(stack_depth).is_ok()
        && config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
    passes.then(Passthrough::default)
}
