//! Signatures and keys before the programs that must accept them.

mod firmware;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use judge::{Ran, run, tool};
use sign::{Directory, Form, Request, Role, Signer};
use store::{Digest, Epoch};

const SIGNED_AT: Epoch = Epoch(1_763_000_000);

struct Bench {
    path: PathBuf,
    keys: Directory,
}

impl Bench {
    fn new(name: &str) -> Self {
        let path = judge::scratch(&format!("sign-{name}"));
        let keys = Directory::make(&path.join("keys")).unwrap();
        Self { path, keys }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path.join("keys").join(name)
    }

    fn sign(&self, role: Role, form: Form) -> Vec<u8> {
        let request = Request { name: "test".into(), role, form };
        let signatures = self.keys.sign(std::slice::from_ref(&request)).unwrap();
        assert_eq!(signatures, self.keys.sign(&[request]).unwrap(), "the same bytes every time");
        signatures[0].0.clone()
    }

    fn openssl(&self, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Ran {
        let mut command = tool("openssl");
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        run(&mut command)
    }

    /// What openssl says of a detached PKCS#7 signature over `content` by a certificate's key.
    fn verify(&self, signature: &Path, content: &Path, certificate: &Path) -> Ran {
        self.openssl(&[
            &"smime",
            &"-verify",
            &"-binary",
            &"-inform",
            &"der",
            &"-in",
            &signature,
            &"-content",
            &content,
            &"-certfile",
            &certificate,
            &"-nointern",
            &"-noverify",
        ])
    }
}

/// A PE32+ image with one section; `sbsign` takes it.
fn program() -> Vec<u8> {
    let mut image = vec![0; 0x600];
    let mut at = |offset: usize, field: &[u8]| {
        image[offset..offset + field.len()].copy_from_slice(field);
    };
    at(0, b"MZ");
    at(0x3c, &[0x40]);
    at(0x40, b"PE\0\0");
    at(0x44, &[0x64, 0x86, 1, 0]);
    at(0x54, &[0xf0, 0, 0x2e, 0x02, 0x0b, 0x02]);
    at(0x5c, &[0, 2]);
    at(0x68, &[0, 0x10]);
    at(0x6c, &[0, 0x10]);
    at(0x78, &[0, 0x10]);
    at(0x7c, &[0, 2]);
    at(0x90, &[0, 0x20]);
    at(0x94, &[0, 4]);
    at(0x9c, &[10]);
    at(0xc4, &[16]);
    at(0x148, b".text\0\0\0");
    at(0x150, &[1, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0, 4]);
    at(0x16c, &[0x20, 0, 0, 0x60]);
    at(0x400, &[0xc3]);
    image
}

/// The Authenticode digest of [`program`]: all but checksum and signature directory.
fn program_digest(image: &[u8]) -> [u8; 32] {
    Digest::of(&[&image[..0x98], &image[0x9c..0xe8], &image[0xf0..]].concat()).0
}

#[test]
fn sbverify_takes_our_signature_and_no_other() {
    let bench = Bench::new("authenticode");
    let digest = program_digest(&program());
    let signature = bench.file("signature", &bench.sign(Role::Boot, Form::Authenticode { digest }));
    let image = bench.file("program.efi", &program());
    let attached = run(tool("sbattach").arg("--attach").arg(&signature).arg(&image));
    assert!(attached.ok, "{}", attached.text);
    let verify = |certificate: &str, image: &Path| {
        run(tool("sbverify").arg("--cert").arg(bench.key(certificate)).arg(image))
    };
    let good = verify("db.crt", &image);
    assert!(good.ok && good.text.contains("Signature verification OK"), "{}", good.text);
    assert!(!verify("KEK.crt", &image).ok, "another key is refused");

    let signed = fs::read(&image).unwrap();
    for at in [0x400, 0x150, 0x700] {
        let mut damaged = signed.clone();
        damaged[at] ^= 1;
        let damaged = bench.file("damaged.efi", &damaged);
        assert!(!verify("db.crt", &damaged).ok, "a flipped byte at {at:#x} is refused");
    }
}

#[test]
fn what_is_signed_of_a_program_is_what_sbsign_signs() {
    let bench = Bench::new("sbsign");
    let image = bench.file("program.efi", &program());
    let signed = bench.path.join("signed.efi");
    let mut sbsign = tool("sbsign");
    sbsign.arg("--key").arg(bench.key("db.key")).arg("--cert").arg(bench.key("db.crt"));
    let ran = run(sbsign.arg("--output").arg(&signed).arg(&image));
    assert!(ran.ok, "{}", ran.text);
    let theirs = fs::read(&signed).unwrap();
    let digest = program_digest(&program());
    let ours = bench.sign(Role::Boot, Form::Authenticode { digest });
    // Both begin alike, up to the certificate: the lengths of the wrappers differ by the time.
    let content = &ours[43..165];
    assert!(theirs.windows(content.len()).any(|window| window == content));
}

#[test]
fn a_root_hash_signature_is_openssls_byte_for_byte() {
    let bench = Bench::new("root-hash");
    let text = Digest::of(b"tree").to_string();
    let ours = bench.sign(Role::Verity, Form::RootHash { text: text.clone() });
    let hash = bench.file("hash", text.as_bytes());
    let theirs = bench.path.join("theirs");
    let (key, certificate) = (bench.key("verity.key"), bench.key("verity.crt"));
    let ran = bench.openssl(&[
        &"smime",
        &"-sign",
        &"-nocerts",
        &"-noattr",
        &"-binary",
        &"-in",
        &hash,
        &"-inkey",
        &key,
        &"-signer",
        &certificate,
        &"-outform",
        &"der",
        &"-out",
        &theirs,
    ]);
    assert!(ran.ok, "{}", ran.text);
    assert_eq!(ours, fs::read(theirs).unwrap());

    let signature = bench.file("signature", &ours);
    let verify = |content: &Path| bench.verify(&signature, content, &certificate);
    assert!(verify(&hash).ok);
    let other = bench.file("other", Digest::of(b"other tree").to_string().as_bytes());
    assert!(!verify(&other).ok, "another root hash is refused");
}

#[test]
fn gpgv_takes_our_release_signature_and_no_other() {
    let bench = Bench::new("openpgp");
    let bytes = b"SHA256SUMS".to_vec();
    let ours = bench.sign(
        Role::Release,
        Form::OpenPgp { bytes: bytes.clone(), created: SIGNED_AT, expires: None },
    );
    let keyring = bench.file("keyring", &bench.keys.certificate(Role::Release).unwrap());
    let signature = bench.file("signature", &ours);
    let verify = |content: &[u8]| {
        let content = bench.file("content", content);
        run(tool("gpgv").arg("--keyring").arg(&keyring).arg(&signature).arg(&content))
    };
    let good = verify(&bytes);
    assert!(good.ok, "{}", good.text);
    assert!(good.text.contains("Hardtack DEVELOPMENT release key"), "{}", good.text);
    assert!(good.text.contains("Nov 13 02:13:20 2025"), "the time is the one given: {}", good.text);
    assert!(!verify(b"SHA256SUMs").ok, "a changed byte is refused");
    assert_eq!(fs::read(bench.key("release.pub.pgp")).unwrap(), fs::read(keyring).unwrap());
}

#[test]
fn gnupg_takes_a_signature_until_it_expires_and_not_after() {
    let bench = Bench::new("openpgp-expiry");
    let bytes = b"SHA256SUMS".to_vec();
    let day = 24 * 60 * 60;
    let form = Form::OpenPgp { bytes: bytes.clone(), created: SIGNED_AT, expires: Some(30 * day) };
    let signature = bench.file("signature", &bench.sign(Role::Release, form));
    let content = bench.file("content", &bytes);
    let gpg = |arguments: &[&dyn AsRef<std::ffi::OsStr>]| {
        let mut gpg = tool("gpg");
        gpg.args(["--batch", "--no-tty", "--trust-model", "always", "--homedir"]).arg(&bench.path);
        arguments.iter().for_each(|argument| {
            gpg.arg(argument.as_ref());
        });
        run(&mut gpg)
    };
    let ran = gpg(&[&"--import", &bench.key("release.pub.pgp")]);
    assert!(ran.ok, "{}", ran.text);
    let verify = |at: u64| {
        let at = format!("{at}!");
        gpg(&[&"--faked-system-time", &at, &"--verify", &signature, &content])
    };
    let before = verify(SIGNED_AT.0 + u64::from(30 * day) - 1);
    assert!(before.ok && before.text.contains("Signature expires"), "{}", before.text);
    let after = verify(SIGNED_AT.0 + u64::from(30 * day) + 1);
    assert!(!after.ok && after.text.contains("Expired signature"), "{}", after.text);
    // What is long past by the machine's own clock too.
    let today = gpg(&[&"--verify", &signature, &content]);
    assert!(!today.ok && today.text.contains("Expired signature"), "{}", today.text);
}

#[test]
fn gnupg_says_that_the_release_key_is_as_old_as_we_say() {
    let bench = Bench::new("openpgp-key");
    let ran = run(tool("gpg")
        .arg("--homedir")
        .arg(&bench.path)
        .args(["--batch", "--with-colons", "--fixed-list-mode", "--show-keys"])
        .arg(bench.key("release.pub.pgp")));
    assert!(ran.ok, "{}", ran.text);
    let public = ran.text.lines().find(|line| line.starts_with("pub:")).unwrap();
    let columns: Vec<&str> = public.split(':').collect();
    // Columns of GnuPG's doc/DETAILS: algorithm, made at, abilities.
    assert_eq!((columns[3], columns[5], columns[11]), ("22", "1577836800", "scSC"));
}

#[test]
fn certificates_hold_from_2020_to_2049_and_say_that_they_are_for_development() {
    let bench = Bench::new("certificates");
    assert!(bench.keys.development());
    for role in [Role::Platform, Role::Exchange, Role::Boot, Role::Verity] {
        let der = bench.file("der", &bench.keys.certificate(role).unwrap());
        let ran = bench.openssl(&[
            &"x509",
            &"-inform",
            &"der",
            &"-in",
            &der,
            &"-noout",
            &"-subject",
            &"-dates",
            &"-text",
        ]);
        assert!(ran.ok, "{}", ran.text);
        for want in [
            &format!("CN = Hardtack DEVELOPMENT {} key", role.name()),
            "notBefore=Jan  1 00:00:00 2020 GMT",
            "notAfter=Dec 31 00:00:00 2049 GMT",
            "Public-Key: (2048 bit)",
        ] {
            assert!(ran.text.contains(want), "{want}: {}", ran.text);
        }
    }
}

#[test]
fn a_certificate_is_read_in_both_forms_and_nothing_else_is() {
    let bench = Bench::new("forms");
    let der = bench.keys.certificate(Role::Boot).unwrap();
    let pem = fs::read(bench.key("db.crt")).unwrap();
    assert_eq!(sign::certificate_der(&pem).unwrap(), der);
    assert_eq!(sign::certificate_der(&der).unwrap(), der);
    for other in [&b""[..], &der[1..], &fs::read(bench.key("db.key")).unwrap()] {
        assert!(sign::certificate_der(other).is_err());
    }
}

#[test]
fn private_keys_are_for_their_owner_alone_and_are_made_once() {
    let bench = Bench::new("files");
    let keys = bench.path.join("keys");
    for name in ["PK.key", "KEK.key", "db.key", "verity.key", "release.pgp"] {
        let mode = fs::metadata(keys.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let first = bench.keys.certificate(Role::Boot).unwrap();
    for again in [Directory::make(&keys), Directory::open(&keys), Directory::open_or_make(&keys)] {
        assert_eq!(again.unwrap().certificate(Role::Boot).unwrap(), first);
    }
    assert_eq!(store::list(&bench.path).unwrap(), [keys], "nothing else is left behind");
}

#[test]
fn elliptic_keys_strangers_certificates_and_missing_keys_are_refused_by_name() {
    let bench = Bench::new("refusals");
    let copy = |to: &str, from: &str| fs::copy(bench.key(from), bench.key(to)).unwrap();
    let open = || Directory::open(&bench.path.join("keys")).map_err(|e| format!("{e:#}"));

    copy("db.crt", "KEK.crt");
    let error = open().err().unwrap();
    assert!(error.contains("db key") && error.contains("another key"), "{error}");

    let key = bench.key("db.key");
    let certificate = bench.key("db.crt");
    let ran = bench.openssl(&[
        &"req",
        &"-x509",
        &"-newkey",
        &"ec",
        &"-pkeyopt",
        &"ec_paramgen_curve:P-256",
        &"-nodes",
        &"-keyout",
        &key,
        &"-out",
        &certificate,
        &"-subj",
        &"/CN=renewed",
    ]);
    assert!(ran.ok, "{}", ran.text);
    let error = open().err().unwrap();
    assert!(error.contains("no RSA key") && error.contains("db key"), "{error}");

    fs::remove_file(&key).unwrap();
    let error = format!("{:#}", open().unwrap().certificate(Role::Boot).unwrap_err());
    assert!(error.contains("db.key"), "{error}");
    assert!(Directory::open(&bench.path.join("nowhere")).is_err());
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let bench = Bench::new("requests");
    let openpgp = |created, expires| Form::OpenPgp { bytes: vec![], created, expires };
    for (role, form) in [
        (Role::Boot, openpgp(SIGNED_AT, None)),
        (Role::Release, Form::Authenticode { digest: [0; 32] }),
        (Role::Release, openpgp(Epoch(1 << 32), None)),
        (Role::Release, openpgp(SIGNED_AT, Some(0))),
        (Role::Release, openpgp(SIGNED_AT, Some(u32::MAX))),
        (Role::Verity, Form::RootHash { text: "DEADBEEF".into() }),
    ] {
        let request = Request { name: "x.efi".into(), role, form };
        let error = format!("{:#}", bench.keys.sign(&[request]).unwrap_err());
        assert!(error.contains("sign `x.efi`"), "{error}");
    }
}
