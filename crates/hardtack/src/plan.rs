//! What one build works from: the profile, its initrd, the lock and the rules, as plain values
//! for every room.

use anyhow::{Context as _, Result};
use filesystem::{Codec, Image};
use lock::Lock;
use profile::Profile;
use rootfs::Rules;
use serde::Serialize;
use sign::Signer;
use store::{Blob, Store, TreeId};
use verity::{Protected, RootHash};

use crate::assemble::{BootParts, Host};
use crate::fault::{Fault, Or as _};
use crate::previous::Previous;
use crate::scripts::OnUnreviewed;
use crate::seal::Sealed;
use crate::updates;

/// Everything that a build depends on, apart from signing keys.
pub struct Plan {
    /// The host.
    pub host: Profile,
    /// Its initial RAM disk.
    pub initrd: Profile,
    /// Exactly which packages.
    pub lock: Lock,
    /// What is particular to their distribution.
    pub rules: Rules,
    /// The image's version.
    pub version: String,
    /// What becomes of the build when nobody has read a script.
    pub on_unreviewed: OnUnreviewed,
    /// An earlier release, beside which sizes are judged; it changes no byte.
    pub previous: Option<Previous>,
}

/// A file that a later room needs inside `/usr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// Where.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Why it may stand where a package has a file of its own.
    pub replaces: Option<&'static str>,
}

impl Later {
    pub(crate) fn new(path: String, text: String) -> Self {
        Self { path, bytes: text.into_bytes(), replaces: None }
    }
}

/// Links in this directory lead to the disk that the firmware started (`61-boot-disk.rules`).
const BOOT_DISK: &str = "/dev/disk/by-boot-disk";

/// What later rooms need inside the trees: the layout's one repart definition, the shipped id of
/// the ESP (a host that still has it takes new ids), the certificate of root hashes, what the
/// update client reads.
pub fn later_rooms(plan: &Plan, signer: &dyn Signer) -> Result<Vec<Later>> {
    let layout = disk::layout(&plan.host.layout.name)?;
    let certificate = sign::certificate_pem(&signer.certificate(sign::Role::Verity)?)?;
    let files = [
        ("usr/lib/repart.d/50-root.conf", disk::repart_definition(layout)),
        ("usr/lib/hardtack/esp-partuuid", disk::esp_uuid(plan.lock.seed) + "\n"),
        ("usr/lib/verity.d/hardtack.crt", certificate),
    ];
    let files = files.into_iter().map(|(path, text)| Later::new(path.to_owned(), text));
    let key = signer.certificate(sign::Role::Release)?;
    Ok(files.chain(updates::files(&plan.host, &plan.lock.architecture, &key)).collect())
}

/// One package as the image itself names it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    source: &'a str,
    source_version: &'a str,
    licence: Option<&'a str>,
    parts: &'a [String],
}

impl Plan {
    /// What the image is made of, said inside of it: there is no package database, and scanners
    /// need one. A line for each package, those of the initrd included.
    pub fn package_list(&self) -> Result<Later> {
        let lines = self.lock.packages.iter().map(|locked| {
            serde_json::to_string(&Listed {
                name: &locked.id.name,
                version: &locked.id.version.0,
                architecture: &locked.id.architecture,
                source: &locked.source,
                source_version: &locked.source_version.0,
                licence: locked.licence.as_deref(),
                parts: &locked.roles,
            })
        });
        let lines: Result<Vec<String>, _> = lines.collect();
        let lines = lines.context("write the list of packages")?.join(",\n");
        let text = format!("{{\"format\":1,\"packages\":[\n{lines}\n]}}\n");
        Ok(Later::new("usr/lib/hardtack/packages.json".to_owned(), text))
    }

    /// Bytes of every partition: the profile's, else the layout's.
    pub fn sizes(&self) -> disk::Sizes {
        let wanted = &self.host.layout;
        let default = disk::Sizes::default();
        disk::Sizes {
            esp: wanted.esp.unwrap_or(default.esp),
            usr: wanted.usr.unwrap_or(default.usr),
            verity: wanted.verity.unwrap_or(default.verity),
            signature: wanted.signature.unwrap_or(default.signature),
            root: wanted.root.unwrap_or(default.root),
            sector: wanted.sector.unwrap_or(default.sector),
        }
    }

    /// Input of `FREEZE`.
    pub fn freeze(&self, usr: TreeId) -> filesystem::Plan {
        filesystem::Plan {
            tree: usr,
            codec: Codec::None,
            base: None,
            epoch: self.lock.epoch,
            uuid: store::Tree::uuid(usr, "usr"),
            label: "usr".to_owned(),
        }
    }

    /// Input of `PROTECT`.
    pub fn protect(&self, data: Blob) -> verity::Plan {
        let seed = self.lock.seed;
        verity::Plan { data, salt: seed.bytes("verity salt"), uuid: seed.uuid("verity") }
    }

    /// The whole kernel command line. Data and hash tree are named on the disk that the firmware
    /// started: their ids are equal on every host of this version.
    pub fn command_line(&self, root: RootHash) -> String {
        let mut arguments = vec![
            format!("usrhash={root}"),
            format!("systemd.verity_usr_data={BOOT_DISK}/{}", disk::usr_uuid(&root.0)),
            format!("systemd.verity_usr_hash={BOOT_DISK}/{}", disk::hash_uuid(&root.0)),
        ];
        arguments.extend(self.host.kernel_args.iter().cloned());
        arguments.join(" ")
    }

    /// Input of `LINK`.
    pub fn link(&self, host: &Host, initrd: Blob, boot: &BootParts, line: &str) -> boot::LinkPlan {
        boot::LinkPlan {
            stub: boot.stub,
            linux: host.kernel,
            initrd,
            osrel: host.os_release.clone(),
            cmdline: line.to_owned(),
            uname: host.uname.clone(),
            sbat: self.host.sbat.iter().map(|line| format!("{line}\n")).collect(),
        }
    }

    /// Input of `LAY_OUT`. The image's own UKI carries no boot counter: there is nothing to fall
    /// back to yet.
    pub fn lay_out(
        &self,
        image: &Image,
        protected: &Protected,
        sealed: &Sealed,
        store: &Store,
    ) -> Result<disk::Plan> {
        let loader = store.put(LOADER_CONFIGURATION.as_bytes()).fault(Fault::Output)?;
        let mut esp: std::collections::BTreeMap<String, Blob> = [
            ("EFI/BOOT/BOOTX64.EFI".to_owned(), sealed.loader),
            ("EFI/systemd/systemd-bootx64.efi".to_owned(), sealed.loader),
            (format!("EFI/Linux/{}.efi", self.name()), sealed.uki),
            ("loader/loader.conf".to_owned(), loader),
        ]
        .into();
        for (name, bytes) in &sealed.enrolment {
            let blob = store.put(bytes).fault(Fault::Output)?;
            esp.insert(format!("loader/keys/auto/{name}.auth"), blob);
        }
        Ok(disk::Plan {
            layout: self.host.layout.name.clone(),
            sizes: self.sizes(),
            seed: self.lock.seed,
            epoch: self.lock.epoch,
            id: self.host.id.clone(),
            version: self.version.clone(),
            usr: image.data,
            verity: protected.hash_tree,
            signature: sealed.root_hash,
            root_hash: protected.root.0,
            esp,
        })
    }

    /// `<id>_<version>`: the beginning of every label and file name.
    pub fn name(&self) -> String {
        format!("{}_{}", self.host.id, self.version)
    }
}

/// No `default`: the newest version with tries left is the default, and a pinned one could be a
/// version known bad.
const LOADER_CONFIGURATION: &str = "timeout 0\neditor no\n";

/// The version of an image whose profile names none: the date of the lock's epoch.
pub fn default_version(lock: &Lock) -> String {
    let (year, month, day) = lock.epoch.date();
    format!("{year:04}{month:02}.{day:02}.0")
}
