//! What tells one run of a domain from all others. Its number does not: numbers begin anew with libvirtd. So each run is
//! marked in the part of its description that libvirt keeps for as long as the domain runs, over its own restart too.

use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};
use virt::sys;

use super::{failure, tell};

/// Name space of the mark.
const NAMESPACE: &str = "https://github.com/nfio/nfio/run";

/// The part of a domain's description that is ours.
const KIND: i32 = sys::VIR_DOMAIN_METADATA_ELEMENT as i32;

/// The run of a domain that runs; it is marked where it is not yet.
pub(super) fn of(domain: &Domain) -> Result<String, Error> {
    let told = match domain.metadata(KIND, Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_LIVE) {
        Ok(text) => tell::first_id(&text).ok().flatten(),
        Err(e) if failure::is(&e, ErrorNumber::NoDomainMetadata) => None,
        Err(e) => return Err(e),
    };
    told.map_or_else(|| begin(domain), Ok)
}

/// Marks a domain that runs with a new run.
pub(super) fn begin(domain: &Domain) -> Result<String, Error> {
    let run = uuid::Uuid::new_v4().to_string();
    let mark = format!("<run id='{run}'/>");
    domain.set_metadata(KIND, Some(&mark), Some("nfio-run"), Some(NAMESPACE), sys::VIR_DOMAIN_AFFECT_LIVE)?;
    Ok(run)
}
