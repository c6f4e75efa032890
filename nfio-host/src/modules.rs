//! The types' plugins (the original's modules below `module_root`): found, watched, judged, loaded, called. The only room
//! that knows libloading and abi_stable.

mod abi;
mod elf;
mod files;
mod health;
mod load;
mod registry;
mod table;
mod watch;

pub use abi::Module;
pub use health::LANE_WIDTH;
pub use load::Loader;
pub use registry::{FILES, Registry, Row, Served};
pub use table::Table;
pub use watch::Watch;
