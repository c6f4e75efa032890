//! The system calls of a guest: an allow-list with the reach of Docker's default profile; anything else is
//! EPERM. libcontainer's own filter needs a C library, so ours is built here and installed just before exec.
//!
//! One architecture per guest: a 32-bit program on a 64-bit machine is killed by the filter.

use libc::*;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::error::Error;

use crate::hypervisor::container::caps::Set;

/// The part of `clone`'s flags that makes namespaces.
const NEW_NAMESPACES: u64 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u64;

#[rustfmt::skip]
const FILES: &[c_long] = &[
    SYS_openat, SYS_openat2, SYS_close, SYS_close_range, SYS_read, SYS_readv, SYS_pread64, SYS_preadv,
    SYS_preadv2, SYS_write, SYS_writev, SYS_pwrite64, SYS_pwritev, SYS_pwritev2, SYS_lseek, SYS_sendfile,
    SYS_splice, SYS_tee, SYS_vmsplice, SYS_copy_file_range, SYS_readahead, SYS_fadvise64, SYS_fallocate,
    SYS_ftruncate, SYS_truncate, SYS_fsync, SYS_fdatasync, SYS_sync, SYS_syncfs,
    SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2,
    SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_umask, SYS_getcwd, SYS_chdir,
    SYS_fchdir, SYS_getdents64, SYS_mkdirat, SYS_mknodat, SYS_linkat, SYS_symlinkat, SYS_readlinkat,
    SYS_unlinkat, SYS_renameat2, SYS_dup, SYS_dup3, SYS_fcntl, SYS_flock, SYS_ioctl, SYS_pipe2,
    SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr,
    SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_fanotify_mark,
    SYS_name_to_handle_at, SYS_memfd_create, SYS_memfd_secret,
];

#[rustfmt::skip]
const WAITING: &[c_long] = &[
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll, SYS_pselect6,
    SYS_eventfd2, SYS_signalfd4, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime,
    SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_cancel, SYS_io_getevents, SYS_futex,
    SYS_futex_waitv, SYS_set_robust_list, SYS_get_robust_list, SYS_membarrier, SYS_rseq,
];

#[rustfmt::skip]
const NETWORK: &[c_long] = &[
    SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown,
    SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom,
    SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
];

#[rustfmt::skip]
const MEMORY: &[c_long] = &[
    SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_mincore, SYS_msync,
    SYS_mlock, SYS_mlock2, SYS_mlockall, SYS_munlock, SYS_munlockall, SYS_remap_file_pages,
    SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
];

#[rustfmt::skip]
const PROCESSES: &[c_long] = &[
    SYS_execve, SYS_execveat, SYS_exit, SYS_exit_group, SYS_wait4, SYS_waitid, SYS_kill, SYS_tkill,
    SYS_tgkill, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_process_mrelease, SYS_ptrace,
    SYS_process_vm_readv, SYS_process_vm_writev, SYS_getpid, SYS_getppid, SYS_gettid, SYS_getpgid,
    SYS_setpgid, SYS_getsid, SYS_setsid, SYS_set_tid_address, SYS_prctl, SYS_seccomp,
    SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self, SYS_getrusage,
    SYS_prlimit64, SYS_getpriority, SYS_setpriority, SYS_ioprio_get,
    SYS_ioprio_set, SYS_getcpu, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity,
    SYS_sched_getattr, SYS_sched_setattr, SYS_sched_getparam, SYS_sched_setparam, SYS_sched_getscheduler,
    SYS_sched_setscheduler, SYS_sched_get_priority_max, SYS_sched_get_priority_min,
    SYS_sched_rr_get_interval, SYS_uname, SYS_sysinfo, SYS_times, SYS_getrandom, SYS_restart_syscall,
];

#[rustfmt::skip]
const IDENTITY: &[c_long] = &[
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getresuid, SYS_getresgid, SYS_getgroups,
    SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setfsuid,
    SYS_setfsgid, SYS_setgroups, SYS_capget, SYS_capset,
];

#[rustfmt::skip]
const SIGNALS: &[c_long] = &[
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigsuspend, SYS_rt_sigtimedwait,
    SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_rt_sigreturn, SYS_sigaltstack,
];

#[rustfmt::skip]
const TIME: &[c_long] = &[
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getitimer, SYS_setitimer, SYS_timer_create, SYS_timer_settime, SYS_timer_gettime,
    SYS_timer_getoverrun, SYS_timer_delete,
    // Reading the clock's adjustment; changing it takes SYS_TIME.
    SYS_adjtimex, SYS_clock_adjtime,
];

#[rustfmt::skip]
const IPC: &[c_long] = &[
    SYS_mq_open, SYS_mq_unlink, SYS_mq_timedsend, SYS_mq_timedreceive, SYS_mq_notify, SYS_mq_getsetattr,
    SYS_msgget, SYS_msgsnd, SYS_msgrcv, SYS_msgctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl,
    SYS_shmget, SYS_shmat, SYS_shmdt, SYS_shmctl,
];

/// Older calls that only this architecture still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ARCHITECTURE: &[c_long] = &[
    SYS_open, SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_chmod, SYS_chown, SYS_lchown, SYS_mkdir,
    SYS_mknod, SYS_rmdir, SYS_link, SYS_symlink, SYS_readlink, SYS_unlink, SYS_rename, SYS_renameat,
    SYS_utime, SYS_utimes, SYS_futimesat, SYS_getdents, SYS_dup2, SYS_pipe, SYS_poll, SYS_select,
    SYS_epoll_create, SYS_epoll_wait, SYS_epoll_ctl_old, SYS_epoll_wait_old, SYS_eventfd, SYS_signalfd,
    SYS_inotify_init, SYS_fork, SYS_vfork, SYS_getpgrp, SYS_pause, SYS_alarm, SYS_time, SYS_arch_prctl,
    SYS_getrlimit, SYS_setrlimit, SYS_sync_file_range, SYS_modify_ldt, SYS_set_thread_area, SYS_get_thread_area,
];

/// renameat, sync_file_range, getrlimit and setrlimit: numbers of the kernel that the crate libc leaves out.
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &[c_long] = &[38, 84, 163, 164];

/// Calls with the same number everywhere that the crate libc leaves out: cachestat, fchmodat2 (chmod of today's C
/// libraries, which take EPERM for an answer), map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal.
const NEWER: &[c_long] = &[451, 452, 453, 454, 455, 456, 462];

/// Calls that come with a capability.
const WITH_CAPABILITY: &[(&str, &[c_long])] = &[
    ("DAC_READ_SEARCH", &[SYS_open_by_handle_at]),
    (
        "SYS_ADMIN",
        &[
            SYS_bpf,
            SYS_clone,
            SYS_fanotify_init,
            SYS_fsconfig,
            SYS_fsmount,
            SYS_fsopen,
            SYS_fspick,
            SYS_lookup_dcookie,
            SYS_mount,
            SYS_mount_setattr,
            SYS_move_mount,
            SYS_open_tree,
            SYS_perf_event_open,
            SYS_quotactl,
            SYS_quotactl_fd,
            SYS_setdomainname,
            SYS_sethostname,
            SYS_setns,
            SYS_syslog,
            SYS_umount2,
            SYS_unshare,
        ],
    ),
    ("SYS_BOOT", &[SYS_reboot]),
    ("SYS_CHROOT", &[SYS_chroot]),
    ("SYS_MODULE", &[SYS_delete_module, SYS_init_module, SYS_finit_module]),
    ("SYS_PACCT", &[SYS_acct]),
    ("SYS_PTRACE", &[SYS_kcmp, SYS_pidfd_getfd, SYS_process_madvise]),
    #[cfg(target_arch = "x86_64")]
    ("SYS_RAWIO", &[SYS_iopl, SYS_ioperm]),
    ("SYS_TIME", &[SYS_settimeofday, SYS_clock_settime]),
    ("SYS_TTY_CONFIG", &[SYS_vhangup]),
    ("SYS_NICE", &[SYS_get_mempolicy, SYS_mbind, SYS_set_mempolicy, SYS_set_mempolicy_home_node]),
    ("SYSLOG", &[SYS_syslog]),
    ("BPF", &[SYS_bpf]),
    ("PERFMON", &[SYS_perf_event_open]),
];

/// The filters for a guest with these capabilities, in the order in which they are installed.
pub(super) fn filters(caps: &Set) -> Result<Vec<BpfProgram>, Box<dyn Error + Send + Sync>> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for list in
        [FILES, WAITING, NETWORK, MEMORY, PROCESSES, IDENTITY, SIGNALS, TIME, IPC, NEWER, ARCHITECTURE]
    {
        rules.extend(list.iter().map(|call| (*call, Vec::new())));
    }
    // Sockets of the hypervisor's own channel would reach the host behind the guest's network.
    rules.insert(SYS_socket, vec![rule(0, SeccompCmpOp::Ne, AF_VSOCK as u64)?]);
    // The plain Linux personality, its 32-bit and uname variants, and the question which one is set.
    let personalities = [0, 0x8, 0x20000, 0x20008, 0xffff_ffff];
    let personalities: Result<_, _> =
        personalities.into_iter().map(|p| rule(0, SeccompCmpOp::Eq, p)).collect();
    rules.insert(SYS_personality, personalities?);
    rules.insert(SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
    // Allowed here, answered by the second filter.
    rules.insert(SYS_clone3, Vec::new());
    for (capability, calls) in WITH_CAPABILITY {
        if caps.contains(capability) {
            rules.extend(calls.iter().map(|call| (*call, Vec::new())));
        }
    }
    let eperm = SeccompAction::Errno(EPERM as u32);
    let main = SeccompFilter::new(rules, eperm, SeccompAction::Allow, architecture)?.try_into()?;
    if caps.contains("SYS_ADMIN") {
        return Ok(vec![main]);
    }
    // clone3 takes its flags by pointer, where no filter can look: "no such call" sends C libraries to clone.
    let enosys = SeccompAction::Errno(ENOSYS as u32);
    let clone3 = BTreeMap::from([(SYS_clone3, Vec::new())]);
    let clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, enosys, architecture)?.try_into()?;
    Ok(vec![clone3, main])
}

fn rule(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let length = match op {
        SeccompCmpOp::MaskedEq(_) => SeccompCmpArgLen::Qword,
        _ => SeccompCmpArgLen::Dword,
    };
    SeccompRule::new(vec![SeccompCondition::new(argument, length, op, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_the_kernel_and_grow_with_capabilities() {
        let plain = filters(&Set::new()).unwrap();
        assert_eq!(plain.len(), 2);
        assert!(plain.iter().all(|filter| filter.len() < 4096));
        let more = filters(&Set::from(["SYS_TIME"])).unwrap();
        assert!(more[1].len() > plain[1].len());
        assert_eq!(filters(&Set::from(["SYS_ADMIN"])).unwrap().len(), 1);
    }
}
