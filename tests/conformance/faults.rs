//! The table of faults: how a driver may be broken, which promise that breaks, and in which words the suite says so.
//! Every promise is in it, as one that nothing breaks could not fail.

use nfio_host::hypervisor::Hypervisor;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::broken::Broken;
use crate::ground::Ground;
use crate::oci::OciGround;
use crate::promises::ALL;
use crate::run::{judge, side_by_side};

/// How long a broken driver is waited for: some never do what is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

macro_rules! faults {
    ($($fault:ident: $($promise:ident $words:literal),+;)*) => {
        /// A way to be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($fault),* }

        const TABLE: &[(Fault, &str, &str)] = &[$($((Fault::$fault, stringify!($promise), $words)),+),*];
    };
}

faults! {
    CheckAcceptsAll:
        check_names_the_key_that_it_refuses "succeeded; error 720",
        check_names_the_host_that_it_cannot_serve "an empty host succeeded";
    CheckDeploys: check_touches_nothing "only checked succeeded";
    GuestsAreFoundByIdAlone: a_deployed_guest_is_created_and_found_with_and_without_its_id "get_id";
    WhatDoesNotRunIsNotFound: a_guest_that_does_not_run_yet_says_so "error 702 and not 716";
    DeployReplaces: a_second_deploy_of_a_guest_is_refused "a second deploy succeeded";
    AFailedDeployLeavesAGuest: a_deploy_that_fails_names_the_image_and_leaves_nothing "what a failed deploy left";
    NamesAreIdentities: guests_of_one_name_are_told_apart "guest_status";
    LabelsAreOthers: labels_tell_whose_guest_it_is "nat";
    WhatIsNotFoundDoesNotRun: a_guest_that_is_not_there_is_not_found "error 716 and not 702";
    EnvironmentIsLost: the_first_process_gets_what_boot_conf_says ",unset";
    WordsOfTheCommandAreJoined: the_entrypoint_gets_the_command_as_its_arguments "<a b  c'd $e>";
    FilesAreLate: files_are_there_before_the_first_process "left";
    BootFilesAreWrittenOnce: boot_confs_files_are_written_before_each_start "outlived a start";
    PreparedIsThatOfTheFirstStart: each_start_gets_what_it_was_prepared_with "one one one\\none one one";
    TheTypesCommandWins: boot_confs_command_wins_and_the_types_variables_do "type type boot";
    RefusalsAreMute: a_program_that_cannot_be_started_is_named "707";
    StartIsRestart: starting_a_running_guest_changes_nothing_and_a_paused_one_is_refused "it was started anew";
    StopKills: stop_asks_first "SIGTERM was not given";
    StopTimeoutIsIgnored: a_guest_that_does_not_heed_is_killed_at_its_timeout "stop_timeout is 2 s";
    StopWaitsFirst: a_first_process_that_knows_no_signals_does_not_take_the_timeout "sleep was waited for";
    StopDoesNothing: stop_leaves_alone_what_does_not_run_and_ends_what_is_paused "Paused";
    StopOfAPausedGuestIsRefused: stop_leaves_alone_what_does_not_run_and_ends_what_is_paused "is paused";
    PauseOnlySaysSo: pause_freezes_and_unpause_goes_on "it is still: not within";
    CommandsThaw: a_paused_guest_cannot_be_asked "a command in a paused guest succeeded";
    DestroyIsAlwaysWithForce: destroy_without_force_spares_what_runs "destroy of a running guest succeeded";
    DestroyOnlyStops: destroy_with_force_takes_guest_and_layer "what was destroyed succeeded";
    StopTakesTheLayer: the_layer_is_kept_over_stop_start_and_restart "after stop and start";
    StatusIsWhatWasTold:
        a_guest_that_ends_by_itself_has_exited "it has ended: not within",
        what_happens_behind_the_drivers_back_is_seen "it is seen to have ended: not within";
    ARunIsTheGuest: a_run_has_an_id_of_its_own "two runs have one id";
    CommandsGoThroughAShell: a_command_gets_its_words_as_they_are "left";
    InputIsCut: a_command_reads_its_input_to_the_end "of 2097152 bytes 65536 came back";
    ExitCodesAreLost: exit_code_and_streams_are_the_commands_own "(0, ";
    StreamsAreMixed: exit_code_and_streams_are_the_commands_own "yesno";
    OutputOfCommandsIsCut: of_each_stream_2_mib_are_kept "(1048576, ";
    WhatCannotRunIsExitCode1: a_program_that_cannot_be_run_is_127_or_126_with_the_reason "nothing-like-this";
    CommandsHaveNoEnvironment: commands_run_as_root_in_the_guests_environment "left";
    OutputIsThatOfAnotherCommand: commands_side_by_side_do_not_mix "command ";
    ModesAreIgnored: a_file_has_its_content_its_mode_and_its_directories "644 0 0 6";
    FilesFollowLinksOutside: a_file_never_leaves_the_guest "left the guest by the link /absolute";
    AddressesHavePrefixes: the_address_is_that_of_the_first_interface "/16";
    CountersAreZero: counters_grow_with_traffic_and_start_anew "both ways are counted: not within";
    CountersRunOn: counters_grow_with_traffic_and_start_anew "after a restart";
    CountersOfAPausedGuestAreRefused: counters_grow_with_traffic_and_start_anew "counters of a paused guest";
    ForwardingIsAlwaysOn: forwarding_is_off_until_it_is_switched_on "before the guest is configured";
    ForwardingIsNeverOn: forwarding_is_off_until_it_is_switched_on "after set_forwarding(true)";
    NeedsWinOverBootConf: kernel_parameters_are_set_and_boot_confs_win "1\\n65536";
    NamespacesAreTheHosts: the_network_namespace_is_the_guests_own_where_there_is_one "left";
    AddressesAreShared: guests_live_side_by_side "guests share an address";
    DropIsIgnored: capabilities_are_the_default_with_what_is_added_and_without_what_is_dropped "capabilities are";
    GuestsArePrivileged:
        no_process_gets_new_privileges_and_system_calls_are_filtered "NoNewPrivs",
        the_hosts_kernel_is_out_of_reach " succeeded";
    MemoryIsUnlimited: limits_of_memory_and_processes_hold "held 200 MB";
    CpuIsUnlimited: a_share_of_a_cpu_is_no_more "of a CPU worked";
    OutputIsLost: what_a_guest_says_is_in_its_log "both streams are in the log: not within";
    LastWordsAreLost: the_log_of_a_guest_that_ended_is_complete "it ends in \"1\"";
    LogsAreNotCapped: a_log_is_capped_and_keeps_the_end "the log had";
    OutputStaysWhereItWas: output_goes_where_the_start_says "where the start said: not within";
    AdoptStartsAnew: a_new_driver_takes_guests_up_as_they_are "the run of a";
}

/// Judges each fault's promise over Oci with that fault.
pub(crate) fn find_all() {
    let covered: BTreeSet<&str> = TABLE.iter().map(|(_, promise, _)| *promise).collect();
    let uncovered: Vec<&str> =
        ALL.iter().map(|promise| promise.name).filter(|name| !covered.contains(name)).collect();
    assert!(uncovered.is_empty(), "no fault breaks {uncovered:?}");

    let ground: Arc<dyn Ground> = Arc::new(OciGround::new());
    let own = ground.driver();
    let missed = side_by_side(ground.facts().at_a_time, TABLE.len(), |n| {
        let (fault, name, words) = TABLE[n];
        let Some(promise) = ALL.iter().find(|promise| promise.name == name) else {
            return Some(format!("{fault:?}: no promise is called {name}"));
        };
        let wrap = |driver: Arc<dyn Hypervisor>| -> Arc<dyn Hypervisor> {
            Arc::new(Broken::new(driver, ground.clone(), fault))
        };
        match judge(promise, &*ground, &own, &wrap, PATIENCE) {
            Ok(()) => Some(format!("{fault:?} keeps {name}")),
            Err(why) if why.contains(words) => None,
            Err(why) => Some(format!("{fault:?} breaks {name} in other words than {words:?}:\n    {why}")),
        }
    });
    assert!(missed.is_empty(), "{} of {} faults:\n  {}", missed.len(), TABLE.len(), missed.join("\n  "));
}
