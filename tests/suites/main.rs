//! End-to-end suites on a real mount with real guests; one file a promise.

mod attack_strings;
mod bad_configuration;
mod command_and_log;
mod directories;
mod docker;
mod drop_rules;
mod every_error;
mod hostile_root;
mod last_error;
mod life_cycle;
mod modules;
mod nothing_slow_blocks;
mod ordinary_files;
mod outlives_nfio;
mod side_by_side;
mod tenants;
mod verb_table;
mod waiting;
mod wanted_state;
