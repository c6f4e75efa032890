//! Who may make which chain. Whoever can change a chain's files could have its members' traffic led elsewhere: they must
//! all be allowed to write `action` of every member, and to others than root both ends must be granted by `[policy]`.

use nix::sys::stat::FileStat;
use nix::unistd::{Gid, Uid, User, getgrouplist};
use std::ffi::CString;

use crate::config::Policy;
use crate::error::{HostError, Result};

/// Somebody other than root who can change a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tenant {
    User { uid: u32, groups: Vec<u32> },
    Group(u32),
    Everybody,
}

impl Tenant {
    /// Who besides root can write something with these attributes. An owner who lets others write answers for them: they
    /// get what is the owner's.
    fn of(stat: &FileStat) -> Vec<Self> {
        let uid = stat.st_uid;
        if uid != 0 {
            return vec![Self::User { uid, groups: groups(uid) }];
        }
        let group = stat.st_gid != 0 && stat.st_mode & libc::S_IWGRP != 0;
        let everybody = stat.st_mode & libc::S_IWOTH != 0;
        group
            .then_some(Self::Group(stat.st_gid))
            .into_iter()
            .chain(everybody.then_some(Self::Everybody))
            .collect()
    }

    fn may_write(&self, stat: &FileStat) -> bool {
        let bits = match self {
            Self::User { uid, .. } if *uid == stat.st_uid => libc::S_IWUSR,
            Self::User { groups, .. } if groups.contains(&stat.st_gid) => libc::S_IWGRP,
            Self::Group(gid) if *gid == stat.st_gid => libc::S_IWGRP,
            _ => libc::S_IWOTH,
        };
        stat.st_mode & bits != 0
    }
}

impl std::fmt::Display for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User { uid, .. } => write!(f, "user id {uid}"),
            Self::Group(gid) => write!(f, "group id {gid}"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

/// The groups of a user, as the system's user database has them.
fn groups(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let listed = CString::new(user.name).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    listed.unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

/// Judges a chain. `judged` are the places by which it can be changed, `ends` its ends as they are written, `actions` the
/// attributes of `action` of each member.
///
/// # Errors
/// PolicyError (EPERM) that names who, what, and the way out.
pub(super) fn judge(
    judged: &[(String, FileStat)],
    ends: [(&str, String); 2],
    actions: &[(String, FileStat)],
    policy: &Policy,
) -> Result<()> {
    let all = judged
        .iter()
        .flat_map(|(place, stat)| Tenant::of(stat).into_iter().map(move |tenant| (place, tenant)));
    for (place, tenant) in all {
        for (file, end) in &ends {
            if !policy.chain_ends.contains(end) {
                return Err(HostError::Policy(format!(
                    "{file}: {end} is not granted to {tenant}, who can change {place}; the administrator can grant it with \
                     chain_ends under [policy] in nfio.toml"
                ))
                .into());
            }
        }
        for (member, action) in actions {
            if !tenant.may_write(action) {
                return Err(HostError::Policy(format!(
                    "{tenant}, who can change {place}, may not write action of {member}: whoever owns that one can allow \
                     it with chgrp and chmod g+w"
                ))
                .into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(uid: u32, gid: u32, mode: u32) -> FileStat {
        let mut stat = nix::sys::stat::stat("/").unwrap();
        (stat.st_uid, stat.st_gid, stat.st_mode) = (uid, gid, mode);
        stat
    }

    fn outcome(place: FileStat, action: FileStat, granted: &[&str]) -> std::result::Result<(), String> {
        let chain_ends = granted.iter().map(|end| (*end).to_owned()).collect();
        let policy = Policy { chain_ends, ..Policy::default() };
        let ends = [("ingress", "netns:a".to_owned()), ("egress", "netns:b".to_owned())];
        judge(&[("fw".into(), place)], ends, &[("firewall/fw-a".into(), action)], &policy).map_err(|e| {
            assert_eq!(e.errno(), libc::EPERM);
            e.to_string()
        })
    }

    #[test]
    fn roots_chains_may_everything_and_others_what_is_granted_and_theirs() {
        let both = ["netns:a", "netns:b"];
        let roots = stat(0, 0, 0o644);
        assert_eq!(outcome(stat(0, 7, 0o755), roots, &[]), Ok(()));
        for (place, who) in [
            (stat(1234, 0, 0o755), "user id 1234"),
            (stat(0, 7, 0o775), "group id 7"),
            (stat(0, 0, 0o757), "everybody"),
        ] {
            let error = outcome(place, roots, &both[..1]).unwrap_err();
            assert!(
                error.starts_with("egress: netns:b is not granted to") && error.contains("chain_ends"),
                "{error}"
            );
            let error = outcome(place, roots, &both).unwrap_err();
            assert!(error.starts_with(who) && error.contains("action of firewall/fw-a"), "{error}");
        }
        assert_eq!(outcome(stat(1234, 0, 0o755), stat(1234, 0, 0o644), &both), Ok(()));
        assert_eq!(outcome(stat(0, 7, 0o775), stat(0, 7, 0o664), &both), Ok(()));
        assert!(outcome(stat(0, 7, 0o775), stat(0, 8, 0o664), &both).is_err());
        assert_eq!(outcome(stat(0, 0, 0o757), stat(0, 0, 0o646), &both), Ok(()));
        // Everybody is not the group alone.
        let error = outcome(stat(0, 7, 0o777), stat(0, 7, 0o664), &both).unwrap_err();
        assert!(error.starts_with("everybody, who can change fw, may not write action"), "{error}");
        assert_eq!(outcome(stat(0, 7, 0o777), stat(0, 7, 0o666), &both), Ok(()));
    }

    #[test]
    fn the_first_class_that_a_user_is_in_decides_as_in_the_kernel() {
        let tenant = Tenant::User { uid: 5, groups: vec![7] };
        assert!(tenant.may_write(&stat(5, 0, 0o200)) && !tenant.may_write(&stat(5, 7, 0o066)));
        assert!(tenant.may_write(&stat(0, 7, 0o020)) && !tenant.may_write(&stat(0, 7, 0o606)));
        assert!(tenant.may_write(&stat(0, 0, 0o002)));
    }
}
