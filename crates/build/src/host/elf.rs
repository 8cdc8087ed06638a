//! What a program or library needs, read from its ELF headers (elf(5), ld.so(8)).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use goblin::elf::Elf;
use goblin::elf::header::{EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64};

/// A program or library. One that needs nothing, such as the loader itself, has empty lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The loader, for programs.
    pub(crate) interpreter: Option<String>,
    /// Libraries by name (`DT_NEEDED`).
    pub(crate) libraries: Vec<String>,
    /// `DT_RPATH`, which counts only without `DT_RUNPATH`.
    pub(crate) rpath: Vec<String>,
    /// `DT_RUNPATH`.
    pub(crate) runpath: Vec<String>,
    machine: u16,
    is_64: bool,
}

/// Reads a file; none when it is no ELF file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Needs>> {
    let mut file = std::fs::File::open(path)?;
    let mut magic = [0; 4];
    if file.metadata()?.is_dir() || file.read_exact(&mut magic).is_err() || magic != *b"\x7fELF" {
        return Ok(None);
    }
    let mut bytes = magic.to_vec();
    file.read_to_end(&mut bytes)?;
    // A broken ELF file of a test suite is somebody's data, not a program.
    Ok(Elf::parse(&bytes).ok().map(|elf| of(&elf)))
}

fn of(elf: &Elf<'_>) -> Needs {
    let split = |list: &[&str]| -> Vec<String> {
        let parts = list.iter().flat_map(|one| one.split(':')).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    Needs {
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: elf.libraries.iter().map(|&name| name.to_owned()).collect(),
        rpath: split(&elf.rpaths),
        runpath: split(&elf.runpaths),
        machine: elf.header.e_machine,
        is_64: elf.is_64,
    }
}

impl Needs {
    /// Whether this machine's processor can run it.
    pub(crate) fn runs_here(&self) -> bool {
        let machine = match std::env::consts::ARCH {
            "x86_64" => EM_X86_64,
            "aarch64" => EM_AARCH64,
            "x86" => EM_386,
            "arm" => EM_ARM,
            "riscv64" => EM_RISCV,
            _ => return true,
        };
        self.machine == machine
    }

    /// Whether one can load the other.
    pub(crate) fn same_machine(&self, other: &Needs) -> bool {
        (self.machine, self.is_64) == (other.machine, other.is_64)
    }

    /// Folders with `$ORIGIN` and `$LIB` filled in; the loader skips what it cannot fill, and so do we.
    pub(crate) fn folders(&self, list: &[String], origin: &Path) -> Vec<PathBuf> {
        let origin = origin.display().to_string();
        let lib = if self.is_64 { "lib64" } else { "lib" };
        let filled = list.iter().map(|folder| {
            let folder = folder.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
            folder.replace("${LIB}", lib).replace("$LIB", lib)
        });
        filled
            .filter(|f| f.starts_with('/') && !f.contains('$'))
            .map(|f| plain(Path::new(&f)))
            .collect()
    }
}

/// Takes `.` and `..` out, as paths of an image are compared by their text.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_needs_a_loader_and_libc() {
        let needs = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(needs.interpreter.is_some() && needs.runs_here());
        assert!(needs.libraries.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
        assert_eq!(read(Path::new("/etc/passwd")).unwrap(), None);
    }

    #[test]
    fn origin_is_where_the_file_will_be() {
        let needs = Needs { is_64: true, ..Needs::default() };
        let list = ["$ORIGIN/../lib", "${ORIGIN}", "/opt/$PLATFORM", "/x/$LIB", "relative"];
        let folders = needs.folders(&list.map(str::to_owned), Path::new("/app/bin"));
        assert_eq!(folders, ["/app/lib", "/app/bin", "/x/lib64"].map(PathBuf::from));
    }
}
