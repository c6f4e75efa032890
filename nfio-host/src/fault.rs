//! Fault points: the durable and external steps of every verb, each named once in [`Step`]. Tests hold nfio at one of
//! them and end it with SIGKILL there, or take away what it works on. The feature `fault-points` compiles that in, for
//! builds with debug assertions only: a release build holds nothing of it. Without it [`at`] and [`watch`] do nothing.

#[cfg(all(feature = "fault-points", debug_assertions))]
mod hold;

#[cfg(all(feature = "fault-points", debug_assertions))]
pub(crate) use hold::{at, share, watch};

/// Names the points. What follows a driver's name and a colon is reached over that driver alone, what follows `Tree:`
/// by mkdir, rmdir and rename alone, and what follows
/// `Chain:` by verbs of chains and by guests that get their links back.
macro_rules! steps {
    ($($step:ident $name:literal)*) => {
        /// A step of a verb, just done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Step { $($step),* }

        #[cfg(all(feature = "fault-points", debug_assertions))]
        impl Step {
            /// All of them.
            const ALL: &[Self] = &[$(Self::$step),*];

            /// Its name in tests.
            const fn name(self) -> &'static str {
                match self { $(Self::$step => $name),* }
            }
        }
    };
}

steps! {
    // The tree.
    SkeletonBegun "Tree: skeleton begun"
    SkeletonFilled "Tree: skeleton filled"
    PrivateCleared "Tree: old private side cleared"
    PrivateMade "Tree: private side made"
    ModuleMkdir "Tree: mkdir of the module done"
    SkeletonInPlace "Tree: skeleton in place"
    SkeletonAside "Tree: skeleton put aside"
    SkeletonRemoved "Tree: skeleton removed"
    PrivateRemoved "Tree: private side removed"
    PrivateRenamed "Tree: private side renamed"
    InstanceRenamed "Tree: instance renamed"
    // All that nfio keeps for itself.
    FileAside "own file written aside"
    RecordSaved "record saved"
    RecordCleared "record cleared"
    IdRenewed "id renewed"
    // Verbs.
    TurnTaken "turn taken"
    GuestDeployed "guest deployed"
    ModulePrepared "prepare of the module done"
    GuestStarted "guest started"
    ModuleConfigured "configure of the module done"
    ForwardingOn "forwarding switched on"
    GuestStopped "guest stopped"
    GuestPaused "guest paused"
    GuestUnpaused "guest unpaused"
    GuestDestroyed "guest destroyed"
    VerbDone "verb done"
    OutcomeNoted "outcome noted"
    // Chains: what is made,
    ChainBegun "Chain: record begun"
    ChainLeased "Chain: leases acquired"
    ChainNoted "Chain: record of what is to be made"
    ChainPair "Chain: pair made"
    ChainParameter "Chain: parameter set"
    ChainRules "Chain: rules of a namespace made"
    ChainRaised "Chain: link raised"
    ChainFurnished "Chain: namespace furnished"
    ChainMember "Chain: member configured"
    ChainComplete "Chain: record complete"
    // and what is taken away.
    ChainLeaving "Chain: record of the removal"
    ChainUnlinked "Chain: links of a namespace removed"
    ChainUnruled "Chain: rules of a namespace removed"
    ChainRestored "Chain: parameter restored"
    ChainReleased "Chain: leases released"
    ChainCleared "Chain: record cleared"
    ChainNotedOutcome "Chain: outcome noted"
    // The driver Oci.
    OciDirectory "Oci: directory made"
    OciLayer "Oci: layer made"
    OciSpec "Oci: specification written"
    OciAsked "Oci: helper asked"
    OciTermSent "Oci: SIGTERM sent"
    OciKilled "Oci: guest killed"
    OciCgroups "Oci: control groups removed"
    OciUnwired "Oci: link removed"
    OciCleared "Oci: end recorded"
    OciReleased "Oci: address released"
    OciAside "Oci: directory put aside"
    // The driver Docker.
    DockerFiles "Docker: files of boot.conf kept"
    DockerCreated "Docker: container created"
    DockerCommitted "Docker: layer committed"
    DockerBeside "Docker: replacement made"
    DockerReplaced "Docker: replaced container removed"
    DockerRenamed "Docker: replacement renamed"
    DockerFilled "Docker: files put into the container"
    DockerStarted "Docker: container started"
    DockerUnpaused "Docker: container unpaused to stop"
    DockerRemoved "Docker: container removed"
    DockerImages "Docker: committed layers removed"
}

/// A step is done.
#[cfg(not(all(feature = "fault-points", debug_assertions)))]
#[inline(always)]
pub(crate) fn at(_: Step) {}

/// What this thread does from now on, until the answer is dropped, is done to that instance.
#[cfg(not(all(feature = "fault-points", debug_assertions)))]
#[inline(always)]
pub(crate) fn watch(_: crate::tree::Instance<'_>) -> impl Drop + use<> {
    Nothing
}

/// What this thread does: the answer, called on another thread, has that one do a part of it.
#[cfg(not(all(feature = "fault-points", debug_assertions)))]
#[inline(always)]
pub(crate) fn share() -> impl FnOnce() -> Nothing + Send {
    || Nothing
}

/// What there is to watch in a build without points.
#[cfg(not(all(feature = "fault-points", debug_assertions)))]
pub(crate) struct Nothing;

#[cfg(not(all(feature = "fault-points", debug_assertions)))]
impl Drop for Nothing {
    fn drop(&mut self) {}
}
