//! The list. Each promise is a function over a [`Stage`] that panics with a sentence where the promise is not kept; its
//! name is the promise.

mod asking;
mod confined;
mod connected;
mod deploying;
pub(crate) mod heard;
pub(crate) mod living;
mod starting;

use crate::stage::Stage;

/// A promise of the trait.
pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) judge: fn(&Stage),
}

macro_rules! promises {
    ($($subject:ident { $($name:ident)* })*) => {
        /// All promises.
        pub(crate) const ALL: &[Promise] =
            &[$($(Promise { name: stringify!($name), judge: $subject::$name }),*),*];
    };
}

promises! {
    deploying {
        check_names_the_key_that_it_refuses
        check_names_the_host_that_it_cannot_serve
        check_touches_nothing
        a_deployed_guest_is_created_and_found_with_and_without_its_id
        a_guest_that_does_not_run_yet_says_so
        a_second_deploy_of_a_guest_is_refused
        a_deploy_that_fails_names_the_image_and_leaves_nothing
        guests_of_one_name_are_told_apart
        labels_tell_whose_guest_it_is
        a_guest_that_is_not_there_is_not_found
    }
    starting {
        the_first_process_gets_what_boot_conf_says
        the_entrypoint_gets_the_command_as_its_arguments
        files_are_there_before_the_first_process
        boot_confs_files_are_written_before_each_start
        each_start_gets_what_it_was_prepared_with
        boot_confs_command_wins_and_the_types_variables_do
        a_program_that_cannot_be_started_is_named
        starting_a_running_guest_changes_nothing_and_a_paused_one_is_refused
    }
    living {
        stop_asks_first
        a_guest_that_does_not_heed_is_killed_at_its_timeout
        a_first_process_that_knows_no_signals_does_not_take_the_timeout
        stop_leaves_alone_what_does_not_run_and_ends_what_is_paused
        pause_freezes_and_unpause_goes_on
        a_paused_guest_cannot_be_asked
        destroy_without_force_spares_what_runs
        destroy_with_force_takes_guest_and_layer
        the_layer_is_kept_over_stop_start_and_restart
        a_guest_that_ends_by_itself_has_exited
        a_run_has_an_id_of_its_own
    }
    asking {
        a_command_gets_its_words_as_they_are
        a_command_reads_its_input_to_the_end
        exit_code_and_streams_are_the_commands_own
        of_each_stream_2_mib_are_kept
        a_program_that_cannot_be_run_is_127_or_126_with_the_reason
        commands_run_as_root_in_the_guests_environment
        commands_side_by_side_do_not_mix
        a_file_has_its_content_its_mode_and_its_directories
        a_file_never_leaves_the_guest
    }
    connected {
        the_address_is_that_of_the_first_interface
        counters_grow_with_traffic_and_start_anew
        forwarding_is_off_until_it_is_switched_on
        kernel_parameters_are_set_and_boot_confs_win
        the_network_namespace_is_the_guests_own_where_there_is_one
        guests_live_side_by_side
    }
    confined {
        capabilities_are_the_default_with_what_is_added_and_without_what_is_dropped
        no_process_gets_new_privileges_and_system_calls_are_filtered
        the_hosts_kernel_is_out_of_reach
        limits_of_memory_and_processes_hold
        a_share_of_a_cpu_is_no_more
    }
    heard {
        what_a_guest_says_is_in_its_log
        the_log_of_a_guest_that_ended_is_complete
        a_log_is_capped_and_keeps_the_end
        output_goes_where_the_start_says
        a_new_driver_takes_guests_up_as_they_are
        what_happens_behind_the_drivers_back_is_seen
    }
}
