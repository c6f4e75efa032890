//! Making a guest's directory: what was deployed, and the layer over its image.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use super::guests::short;
use super::remove::remove_tree;
use super::state::{Deployed, GuestDir, NetworkSettings};
use super::{Oci, layer, spec};
use crate::error::Result;
use crate::fault::{self, Step};
use crate::hypervisor::GuestSpec;

impl Oci {
    pub(super) fn make(&self, spec: &GuestSpec, dir: &GuestDir) -> Result<()> {
        let image = self.images.find(&spec.image, spec.absolute_image)?;
        for device in &spec.needs.devices {
            spec::Device::find(device)?;
        }
        let config = &self.config;
        let network = NetworkSettings {
            bridge: config.bridge.clone(),
            subnet: config.subnet.clone(),
            run: config.run.clone(),
        };
        let deployed = Deployed { spec: spec.clone(), image, short: short(&spec.labels.id), network };
        remove_tree(dir.path())?;
        fs::DirBuilder::new().mode(0o700).create(dir.path())?;
        fault::at(Step::OciDirectory);
        layer::make(dir, &deployed.image)?;
        fault::at(Step::OciLayer);
        dir.write_deployed(&deployed)?;
        fault::at(Step::OciSpec);
        Ok(())
    }

    /// An image unpacked below a ROOT that was moved is not where it was.
    pub(super) fn follow_image(&self, dir: &GuestDir, deployed: Deployed) -> Result<()> {
        if deployed.image.is_dir() {
            return Ok(());
        }
        let image = self.images.find(&deployed.spec.image, deployed.spec.absolute_image)?;
        Ok(dir.write_deployed(&Deployed { image, ..deployed })?)
    }
}
