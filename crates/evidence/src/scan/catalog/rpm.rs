//! RPM packages: the SQLite database of Fedora 33, RHEL 9 and later. Older databases (Berkeley DB, ndb) are named, not read.
//!
//! Format: rpm-software-management/rpm, `docs/manual/format_header.md`: a header is a count of index entries and of data
//! bytes (big endian), the entries (tag, type, offset, count), then the data.

use super::{Catalog, Told, file_name};
use crate::scan::Package;

pub const RPM: Catalog = Catalog {
    name: "rpm",
    wants: |path, _| {
        let folder = path.starts_with("var/lib/rpm/")
            || path.starts_with("usr/lib/sysimage/rpm/")
            || path.starts_with("usr/share/rpm/");
        folder && matches!(file_name(path), "rpmdb.sqlite" | "Packages" | "Packages.db")
    },
    read,
};

/// Tags by number, from `rpmtag.h`.
const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;
const SOURCE_RPM: u32 = 1044;
/// Packages of one database; a full workstation has 3,000.
const PACKAGES_MAX: usize = 100_000;

fn read(path: &str, bytes: &[u8]) -> Result<Told, String> {
    if file_name(path) != "rpmdb.sqlite" {
        return Err("is a database of before RPM 4.16, which is not read".into());
    }
    let mut blobs = headers(bytes).map_err(|error| error.to_string())?;
    if blobs.len() > PACKAGES_MAX {
        return Err(format!("has more than {PACKAGES_MAX} packages"));
    }
    let packages: Option<Vec<_>> = blobs.drain(..).map(|blob| package(&blob)).collect();
    let mut packages = packages.ok_or("has a malformed header")?;
    // Keys that were imported to check signatures are no software.
    packages.retain(|package| package.name != "gpg-pubkey");
    Ok(Told::packages(packages))
}

fn headers(database: &[u8]) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut connection = rusqlite::Connection::open_in_memory()?;
    connection.deserialize_read_exact("main", database, database.len(), true)?;
    let mut statement = connection.prepare("SELECT blob FROM Packages ORDER BY hnum")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.take(PACKAGES_MAX + 1).collect()
}

fn package(header: &[u8]) -> Option<Package> {
    let header = Header::new(header)?;
    let version = match (header.number(EPOCH), header.text(VERSION)?, header.text(RELEASE)?) {
        (Some(epoch), version, release) => format!("{epoch}:{version}-{release}"),
        (None, version, release) => format!("{version}-{release}"),
    };
    let name = header.text(NAME)?;
    // `openssl-3.0.7-27.el9.src.rpm`
    let source = header.text(SOURCE_RPM).and_then(|file| {
        let stem = file.strip_suffix(".src.rpm")?;
        let (rest, release) = stem.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        Some((name.to_owned(), format!("{version}-{release}")))
    });
    Some(Package {
        kind: "rpm".into(),
        source: source.or_else(|| Some((name.clone(), version.clone()))),
        name,
        version,
        architecture: header.text(ARCHITECTURE),
        licence: header.text(LICENCE),
        ..Package::default()
    })
}

struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let count = usize::try_from(number(bytes, 0)?).ok()?;
        let (index, data) = bytes.get(8..)?.split_at_checked(count.checked_mul(16)?)?;
        Some(Self { index, data })
    }

    fn at(&self, tag: u32) -> Option<usize> {
        let entry = self.index.chunks_exact(16).find(|entry| number(entry, 0) == Some(tag))?;
        usize::try_from(number(entry, 8)?).ok()
    }

    /// A text ends with a NUL.
    fn text(&self, tag: u32) -> Option<String> {
        let rest = self.data.get(self.at(tag)?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn number(&self, tag: u32) -> Option<u32> {
        number(self.data, self.at(tag)?)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with texts and one number, as rpm lays it out.
    fn header(texts: &[(u32, &str)], epoch: Option<u32>) -> Vec<u8> {
        let (mut index, mut data) = (vec![], vec![]);
        let mut entry = |tag: u32, kind: u32, offset: usize| {
            for part in [tag, kind, offset as u32, 1] {
                index.extend(part.to_be_bytes());
            }
        };
        if let Some(epoch) = epoch {
            entry(EPOCH, 4, 0);
            data.extend(epoch.to_be_bytes());
        }
        for (tag, text) in texts {
            entry(*tag, 6, data.len());
            data.extend(text.as_bytes());
            data.push(0);
        }
        let mut all = ((index.len() / 16) as u32).to_be_bytes().to_vec();
        all.extend((data.len() as u32).to_be_bytes());
        all.extend(index);
        all.extend(data);
        all
    }

    #[test]
    fn headers_are_read() {
        let texts = [
            (NAME, "openssl-libs"),
            (VERSION, "3.0.7"),
            (RELEASE, "27.el9"),
            (LICENCE, "ASL 2.0"),
            (ARCHITECTURE, "x86_64"),
            (SOURCE_RPM, "openssl-3.0.7-27.el9.src.rpm"),
        ];
        let blob = header(&texts, Some(1));
        let found = package(&blob).unwrap();
        assert_eq!(found.version, "1:3.0.7-27.el9");
        assert_eq!(found.source, Some(("openssl".into(), "3.0.7-27.el9".into())));
        for length in 0..blob.len() {
            let _ = package(&blob[..length]);
        }
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)", [])
            .unwrap();
        connection.execute("INSERT INTO Packages VALUES (1, ?1)", [&blob]).unwrap();
        let bytes = connection.serialize("main").unwrap();
        let told = read("var/lib/rpm/rpmdb.sqlite", &bytes).unwrap();
        assert_eq!(told.packages, [found]);
        assert!(read("var/lib/rpm/Packages", b"").unwrap_err().contains("4.16"));
        assert!(read("var/lib/rpm/rpmdb.sqlite", b"no database").is_err());
    }
}
