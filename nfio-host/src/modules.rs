//! The types' plugins (the original's modules below `module_root`): found, judged, loaded, called. The only room
//! that knows libloading and abi_stable.

mod abi;
mod elf;
mod load;
mod registry;
mod table;

pub use abi::Module;
pub use load::Loader;
pub use registry::{FILES, Registry, Row};
pub use table::Table;
