//! Makes the mount's driver.
