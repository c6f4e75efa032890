//! Judges a shared object before it is opened: dlopen(3) of a truncated one is SIGBUS, of one without our header a
//! riddle.

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::read::elf::{ElfFile, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol, ReadRef, elf};

/// Why a file is no plugin that this host could open. For one that is whole and has the header: how many of its bytes
/// the dynamic linker needs. What stands behind its segments (section headers, debug information) it never reads.
pub(super) fn judge<'data>(data: impl ReadRef<'data>) -> Result<u64, String> {
    if data.read_bytes_at(0, 4) != Ok(b"\x7fELF") {
        return Err("it is not a shared object (no ELF header); build it as a cdylib".into());
    }
    if !data.read_bytes_at(0, 64).is_ok_and(|header| header[4] == elf::ELFCLASS64) {
        return Err("it is not a 64-bit shared object, or it is cut off".into());
    }
    judge_as::<elf::FileHeader64<Endianness>, _>(data)
}

fn judge_as<'data, H: FileHeader<Endian = Endianness>, R: ReadRef<'data>>(data: R) -> Result<u64, String> {
    let cut = |why: object::Error| {
        format!("it is damaged or not copied whole ({why}); copy it aside and move it into place")
    };
    let file = ElfFile::<H, R>::parse(data).map_err(cut)?;
    let here = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };
    let machine = file.elf_header().e_machine(file.endian());
    if machine != here {
        return Err(format!("it is built for another machine (ELF machine {machine}, here {here})"));
    }
    if file.kind() != object::ObjectKind::Dynamic {
        return Err("it is an ELF file but no shared object; build it as a cdylib".into());
    }
    let length = data.len().map_err(|()| "its length cannot be told")?;
    let table = file.elf_header();
    let entries = u64::from(table.e_phnum(file.endian())) * u64::from(table.e_phentsize(file.endian()));
    // The table itself lies within the file: it has been parsed.
    let mut needed = table.e_phoff(file.endian()).into() + entries;
    for segment in file.elf_program_headers() {
        let (offset, size) = segment.file_range(file.endian());
        let end = offset.saturating_add(size);
        if end > length {
            return Err(format!(
                "it is not whole: a segment ends at byte {end}, the file at {length}; copy it aside and move it into place"
            ));
        }
        needed = needed.max(end);
    }
    let header = file
        .dynamic_symbols()
        .any(|symbol| symbol.name() == Ok(ROOT_MODULE_LOADER_NAME) && symbol.is_definition());
    if !header {
        return Err(
            "it is a shared object but no nfio plugin: it lacks export_middlebox! of middlebox-sdk".into()
        );
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plugin_is_told_in_words() {
        assert!(judge(&b""[..]).unwrap_err().contains("not a shared object"));
        assert!(judge(&b"#!/bin/sh\n"[..]).unwrap_err().contains("not a shared object"));
        assert!(judge(&b"\x7fELF\x02"[..]).unwrap_err().contains("cut off"));
        let ourselves = std::fs::read("/proc/self/exe").unwrap();
        assert!(judge(ourselves.as_slice()).unwrap_err().contains("no nfio plugin"));
        assert!(judge(&ourselves[..ourselves.len() / 2]).unwrap_err().contains("not"));
    }
}
