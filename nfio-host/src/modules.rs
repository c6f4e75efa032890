//! The types' plugins (the original's modules below `module_root`): found, watched, judged, loaded, called. The only room
//! that knows libloading and abi_stable.

mod abi;
mod check;
mod child;
mod crash;
mod elf;
mod exercise;
mod files;
mod health;
mod list;
mod load;
mod probe;
mod registry;
mod reply;
mod source;
mod table;
mod trust;
mod watch;

pub use abi::Module;
pub use check::{Verdict, check};
pub use crash::mark_crashes;
pub use health::LANE_WIDTH;
pub use list::list;
pub use load::Loader;
pub use probe::helper_main;
pub use registry::{FILES, Registry, Row, Served};
pub use table::Table;
pub use watch::Watch;
