//! Ways to be broken.

/// A fault that is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The driver says that it has stopped a guest, and has not.
    StopForgets,
    /// A paused guest is said to run.
    StatusLies,
    /// The guest's nft says that it has taken the rules, and has not.
    RulesAreLost,
    /// Guests end with nfio.
    GuestsDieWithNfio,
    /// The output of a command goes to whoever asked before.
    OutputIsAnothers,
    /// rmdir of a deployed instance succeeds.
    DeployedIsRemoved,
    /// What must stay while a guest is there can be removed.
    SkeletonGoes,
    /// Of several verbs in one write the first alone is done.
    VerbsAreCut,
    /// A verb empties `config/nf_conf`.
    SettingsAreLost,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::StopForgets,
        Self::StatusLies,
        Self::RulesAreLost,
        Self::GuestsDieWithNfio,
        Self::OutputIsAnothers,
        Self::DeployedIsRemoved,
        Self::SkeletonGoes,
        Self::VerbsAreCut,
        Self::SettingsAreLost,
    ];
}
