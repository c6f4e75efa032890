//! End-to-end suites on a real mount with real guests; one file a promise.

mod attack_strings;
mod bad_configuration;
mod command_and_log;
mod crash_marker;
mod directories;
mod drop_rules;
mod every_error;
mod hostile_plugins;
mod hostile_root;
mod hot_plugging;
mod ids;
mod last_error;
mod life_cycle;
mod modules;
mod nat;
mod nothing_slow_blocks;
mod ordinary_files;
mod out_of_tree;
mod outlives_nfio;
mod replacement;
mod side_by_side;
mod tenants;
mod verb_table;
mod version_skew;
mod waiting;
mod wanted_state;
