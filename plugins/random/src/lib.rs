//! The type `random`: an instance is six plain files, and nothing else.
//!
//! It is the smallest type there is: a layout of its own ([`bare`](Type::bare): without the host's `action`, `status`
//! and the rest, hence without a guest), and no function beside [`describe`](Middlebox::describe). The files are
//! ordinary, so the host never asks this module about them.

#![forbid(unsafe_code)]

use middlebox_sdk::{File, Middlebox, Type};

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Middlebox for Random {
    fn describe(&self) -> Type {
        ["alpha", "beta", "gamma", "kappa", "omega", "theta"]
            .into_iter()
            .fold(Type::new("random", env!("CARGO_PKG_VERSION")).bare(), |ty, name| {
                ty.file(File::ordinary(name))
            })
    }
}

middlebox_sdk::export_middlebox!(Random);

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::testing::{Call, Guest};
    use middlebox_sdk::{Kind, Layout};

    #[test]
    fn an_instance_is_six_plain_files() {
        let ty = Type::from_text(&Random.describe().to_text().unwrap()).unwrap();
        assert_eq!((ty.name.as_str(), ty.layout), ("random", Layout::Bare));
        let names: Vec<_> = ty.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["alpha", "beta", "gamma", "kappa", "omega", "theta"]);
        assert!(ty.files.iter().all(|file| file.kind == Kind::Ordinary && file.mode == 0o644));
    }

    #[test]
    fn a_new_instance_needs_nothing() {
        Random.mkdir(&Guest::new("random", "r-a").during(Call::Mkdir)).unwrap();
    }
}
