//! Signed texts, made by `gpg` and judged by `gpgv`.

use std::path::{Path, PathBuf};

use fetch::{Keyring, Sealed, Signed};
use store::Epoch;

/// When the keys of these tests were made, and when they sign unless a test says otherwise.
const MADE: u64 = 1_700_000_000;
const SIGNED: u64 = MADE + 1_000;
const DAY: u64 = 86_400;
const NOW: Epoch = Epoch(MADE + 10 * DAY);

const TEXT: &str = "Origin: test\nCodename: s  \n- a list\n\nDate: x\n";

struct Gpg(PathBuf);

impl Gpg {
    fn new(name: &str) -> Self {
        let home = judge::scratch(&format!("gpg-{name}"));
        // gpg wants a home of its owner's alone, and sockets below it.
        judge::run(judge::tool("chmod").arg("700").arg(&home));
        Self(home)
    }

    fn run(&self, at: u64, args: &[&str]) -> String {
        let mut gpg = judge::tool("gpg");
        gpg.arg("--homedir").arg(&self.0).args(["--batch", "--yes", "--passphrase", ""]);
        gpg.args(["--pinentry-mode", "loopback", "--faked-system-time"]);
        gpg.arg(format!("{at}!")).args(args).current_dir(&self.0);
        let ran = judge::run(&mut gpg);
        assert!(ran.ok, "gpg {args:?}: {}", ran.text);
        ran.text
    }

    fn key(&self, name: &str, algorithm: &str, usage: &str, expires: &str) {
        self.run(MADE, &["--quick-generate-key", name, algorithm, usage, expires]);
    }

    fn fingerprint(&self, name: &str) -> String {
        let list = self.run(SIGNED, &["--with-colons", "--list-keys", name]);
        let line = list.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    fn export(&self, names: &[&str]) -> Vec<u8> {
        self.run(SIGNED, &[&["--output", "out.gpg", "--export"], names].concat());
        std::fs::read(self.0.join("out.gpg")).unwrap()
    }

    fn sign(&self, at: u64, names: &[&str]) -> Vec<u8> {
        std::fs::write(self.0.join("text"), TEXT).unwrap();
        let mut args = vec!["--output", "text.asc", "--clear-sign"];
        names.iter().for_each(|name| args.extend(["--local-user", name]));
        args.push("text");
        self.run(at, &args);
        std::fs::read(self.0.join("text.asc")).unwrap()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let mut conf = judge::tool("gpgconf");
        judge::run(conf.arg("--homedir").arg(&self.0).args(["--kill", "all"]));
    }
}

fn open(keyring: &[u8], message: &[u8]) -> anyhow::Result<Signed> {
    Keyring::read(keyring).unwrap().open(message, NOW)
}

fn refused(keyring: &[u8], message: &[u8], why: &str) {
    let error = format!("{:#}", open(keyring, message).unwrap_err());
    assert!(error.contains(why), "{error}");
}

/// What `gpgv` says, and the text that it lets through.
fn gpgv(home: &Path, keyring: &[u8], message: &[u8]) -> (bool, String) {
    std::fs::write(home.join("ring.gpg"), keyring).unwrap();
    std::fs::write(home.join("message"), message).unwrap();
    let mut gpgv = judge::tool("gpgv");
    gpgv.arg("--keyring").arg(home.join("ring.gpg")).arg("--output").arg(home.join("plain"));
    let _ = std::fs::remove_file(home.join("plain"));
    let ran = judge::run(gpgv.arg(home.join("message")));
    (ran.ok, std::fs::read_to_string(home.join("plain")).unwrap_or_default())
}

/// One byte of the signed text changed.
fn tampered(message: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(message).unwrap();
    text.replacen("Origin: test", "Origin: evil", 1).into_bytes()
}

#[test]
fn we_and_gpgv_agree_on_good_text_and_on_a_changed_byte() {
    let gpg = Gpg::new("agree");
    for (name, algorithm) in [("rsa", "rsa2048"), ("ed", "ed25519"), ("p256", "nistp256")] {
        gpg.key(name, algorithm, "sign", "never");
        let (ring, message) = (gpg.export(&[name]), gpg.sign(SIGNED, &[name]));
        let signed = open(&ring, &message).unwrap();
        assert_eq!(signed.signers, [gpg.fingerprint(name)]);
        let (ok, plain) = gpgv(&gpg.0, &ring, &message);
        let trimmed: String = plain.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        assert!(ok, "{algorithm}");
        assert_eq!(signed.text, trimmed);

        refused(&ring, &tampered(&message), "bad");
        assert!(!gpgv(&gpg.0, &ring, &tampered(&message)).0);
    }
}

#[test]
fn one_good_signature_suffices_unknown_ones_are_ignored_a_bad_trusted_one_fails() {
    let gpg = Gpg::new("several");
    ["a", "b", "c"].iter().for_each(|name| gpg.key(name, "ed25519", "sign", "never"));
    let both = gpg.sign(SIGNED, &["a", "b"]);
    assert_eq!(open(&gpg.export(&["a"]), &both).unwrap().signers, [gpg.fingerprint("a")]);
    assert_eq!(open(&gpg.export(&["a", "b"]), &both).unwrap().signers.len(), 2);
    refused(&gpg.export(&["c"]), &both, "no key of the keyring signed");
    refused(&gpg.export(&["a"]), &tampered(&both), "bad");
}

#[test]
fn a_signing_subkey_counts_and_its_primary_is_the_signer() {
    let gpg = Gpg::new("subkey");
    gpg.key("p", "ed25519", "cert", "never");
    let print = gpg.fingerprint("p");
    gpg.run(MADE, &["--quick-add-key", &print, "ed25519", "sign", "30d"]);
    let ring = gpg.export(&["p"]);
    assert_eq!(open(&ring, &gpg.sign(SIGNED, &["p"])).unwrap().signers, [print.as_str()]);
    // The subkey ends, the primary key may not sign: an old signature goes on to count.
    let old = gpg.sign(MADE + 29 * DAY, &["p"]);
    assert!(open(&ring, &old).is_ok());
}

#[test]
fn a_key_that_had_expired_when_it_signed_does_not_count() {
    let gpg = Gpg::new("expired");
    gpg.key("e", "ed25519", "sign", "5d");
    let short = gpg.export(&["e"]);
    assert!(open(&short, &gpg.sign(SIGNED, &["e"])).is_ok());
    let print = gpg.fingerprint("e");
    gpg.run(SIGNED + 1, &["--quick-set-expire", &print, "20d"]);
    let late = gpg.sign(MADE + 6 * DAY, &["e"]);
    assert!(open(&gpg.export(&["e"]), &late).is_ok());
    refused(&short, &late, "had expired");
}

#[test]
fn a_revoked_key_does_not_count() {
    let gpg = Gpg::new("revoked");
    gpg.key("r", "ed25519", "sign", "never");
    let message = gpg.sign(SIGNED, &["r"]);
    assert!(open(&gpg.export(&["r"]), &message).is_ok());
    let print = gpg.fingerprint("r");
    // gpg keeps a revocation ready, behind a colon that guards it.
    let path = gpg.0.join(format!("openpgp-revocs.d/{print}.rev"));
    let ready = std::fs::read_to_string(&path).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(&path, ready).unwrap();
    gpg.run(SIGNED, &["--import", path.to_str().unwrap()]);
    refused(&gpg.export(&["r"]), &message, "is revoked");
}

#[test]
fn a_broken_digest_does_not_count() {
    let gpg = Gpg::new("weak");
    gpg.key("w", "rsa2048", "sign", "never");
    std::fs::write(gpg.0.join("text"), TEXT).unwrap();
    let sha1 = ["--digest-algo", "SHA1", "--output", "text.asc", "--clear-sign", "text"];
    gpg.run(SIGNED, &sha1);
    let message = std::fs::read(gpg.0.join("text.asc")).unwrap();
    refused(&gpg.export(&["w"]), &message, "digest that is broken");
}

#[test]
fn two_copies_of_one_signature_are_one_signer() {
    let gpg = Gpg::new("twice");
    gpg.key("k", "ed25519", "sign", "never");
    let message = String::from_utf8(gpg.sign(SIGNED, &["k", "k"])).unwrap();
    let signed = open(&gpg.export(&["k"]), message.as_bytes()).unwrap();
    assert_eq!(signed.signers, [gpg.fingerprint("k")]);
    // The whole block of signatures once more.
    let (_, block) = message.split_once("-----BEGIN PGP SIGNATURE-----").unwrap();
    let again = format!("{message}-----BEGIN PGP SIGNATURE-----{block}");
    refused(&gpg.export(&["k"]), again.as_bytes(), "something follows the signature");
}

/// What stands around or between the signed lines, and what was done to them.
#[test]
fn what_we_let_through_is_what_gpgv_lets_through_or_nothing() {
    let gpg = Gpg::new("framed");
    gpg.key("k", "ed25519", "sign", "never");
    let ring = gpg.export(&["k"]);
    let good = String::from_utf8(gpg.sign(SIGNED, &["k"])).unwrap();
    let other = good.replace("Origin: test", "Origin: evil");
    let hash = good.lines().find(|line| line.starts_with("Hash:")).unwrap();
    let framed: &[(&str, String)] = &[
        ("as signed", good.clone()),
        ("CR LF", good.replace('\n', "\r\n")),
        ("more blanks at line ends", good.replace("Codename: s", "Codename: s \t ")),
        ("blank lines after", format!("{good}\n\n")),
        ("text before", format!("Origin: evil\n{good}")),
        ("blank line before", format!("\n{good}")),
        ("byte order mark before", format!("\u{feff}{good}")),
        ("text after", format!("{good}Origin: evil\n")),
        ("stanza after", format!("{good}\nOrigin: evil\nCodename: s\n")),
        ("second block after", format!("{good}{other}")),
        ("second block before", format!("{other}{good}")),
        ("the same block twice", format!("{good}{good}")),
        ("another header", good.replace(hash, &format!("{hash}\nComment: x"))),
        ("text as header", good.replace(hash, &format!("{hash}\nOrigin: evil"))),
        ("no header", good.replace(&format!("{hash}\n"), "")),
        ("header with blanks", good.replace(hash, &format!("{hash}\n \nOrigin: evil"))),
        ("dash unescaped", good.replace("- - a list", "- a list")),
        ("dash escaped twice", good.replace("- - a list", "- - - a list")),
        ("every line escaped", good.replace("Origin: test", "- Origin: test")),
        ("line added", good.replace("Origin: test", "Origin: test\nX: y")),
        ("line end lost", good.replace("Origin: test\n", "Origin: test")),
        ("vertical tab as line end", good.replace("Origin: test\n", "Origin: test\u{b}")),
        ("lone CR as line end", good.replace("Origin: test\n", "Origin: test\r")),
        ("NUL", good.replace("Origin: test", "Origin: test\0")),
        ("cut before the signature", good.split_once("-----BEGIN PGP SIGN").unwrap().0.into()),
        ("cut in the signature", good[..good.len() - 60].into()),
        ("end line lost", good.replace("-----END PGP SIGNATURE-----", "")),
        ("signature emptied", good.replace(good.split("\n\n").last().unwrap(), "")),
        ("lower case", good.replace("-----BEGIN PGP SIGNED", "-----begin pgp signed")),
    ];
    let (mut through, mut stopped, mut ours_alone) = (Vec::new(), Vec::new(), Vec::new());
    for (name, message) in framed {
        match open(&ring, message.as_bytes()) {
            Err(_) => stopped.push(*name),
            Ok(signed) => {
                let (ok, plain) = gpgv(&gpg.0, &ring, message.as_bytes());
                let lines = plain.lines().map(|line| format!("{}\n", line.trim_end()));
                if ok {
                    assert_eq!(signed.text, lines.collect::<String>(), "{name}");
                    through.push(*name);
                } else {
                    ours_alone.push(*name);
                }
            }
        }
    }
    // The signature names its digest itself; the header is only a hint (RFC 9580, 6.2.2.3), without
    // which gpgv tries the wrong one.
    assert_eq!(ours_alone, ["no header"]);
    for name in ["as signed", "CR LF", "blank lines after"] {
        assert!(through.contains(&name), "{name}: {through:?}");
    }
    for name in ["text before", "text after", "second block after", "text as header", "line added"]
    {
        assert!(stopped.contains(&name), "{name}: {stopped:?}");
    }
}

#[test]
fn keyrings_are_told_apart_by_content() {
    let gpg = Gpg::new("forms");
    gpg.key("k", "ed25519", "sign", "never");
    gpg.key("l", "ed25519", "sign", "never");
    let binary = gpg.export(&["k", "l"]);
    let mut armoured = String::new();
    for name in ["k", "l"] {
        gpg.run(SIGNED, &["--armor", "--output", "out.asc", "--export", name]);
        armoured.push_str(&std::fs::read_to_string(gpg.0.join("out.asc")).unwrap());
    }
    let crlf = armoured.replace('\n', "\r\n");
    let message = gpg.sign(SIGNED, &["l"]);
    for ring in [&binary[..], armoured.as_bytes(), crlf.as_bytes()] {
        assert_eq!(Keyring::read(ring).unwrap().fingerprints().len(), 2);
        assert!(open(ring, &message).is_ok());
    }
    let keybox = std::fs::read(gpg.0.join("pubring.kbx")).unwrap();
    let error = Keyring::read(&keybox).unwrap_err().to_string();
    assert!(error.contains("keybox") && error.contains("--export"), "{error}");
    for junk in [&b""[..], b"\x99", b"hello", &binary[..20]] {
        assert!(Keyring::read(junk).is_err(), "{} bytes", junk.len());
    }
}

#[test]
fn a_detached_signature_opens_its_file_until_it_ends_and_no_other_file() {
    let gpg = Gpg::new("detached");
    ["k", "stranger"].iter().for_each(|name| gpg.key(name, "ed25519", "sign", "never"));
    let ring = gpg.export(&["k"]);
    let sign = |more: &[&str]| {
        std::fs::write(gpg.0.join("text"), TEXT).unwrap();
        let common = ["--local-user", "k", "--output", "text.sig"];
        gpg.run(SIGNED, &[more, &common, &["--detach-sign", "text"]].concat());
        std::fs::read(gpg.0.join("text.sig")).unwrap()
    };
    let open = |ring: &[u8], text: &str, signature: &[u8], now: u64| {
        let sealed = Sealed::new(text.as_bytes().to_vec(), signature.to_vec());
        sealed.open(&Keyring::read(ring).unwrap(), Epoch(now)).map_err(|e| format!("{e:#}"))
    };
    let end = SIGNED + 10 * DAY;
    for form in [&["--no-armor"], &["--armor"]] {
        let signature = sign(&[&form[..], &["--default-sig-expire", "10d"]].concat());
        let opened = open(&ring, TEXT, &signature, end - 1).unwrap();
        assert_eq!((opened.content, opened.expires), (TEXT.into(), Some(Epoch(end))));
        assert_eq!(opened.signers, [gpg.fingerprint("k")]);
        let late = open(&ring, TEXT, &signature, end).unwrap_err();
        assert!(late.contains("set an end to its signature, which has passed"), "{late}");
        let changed = TEXT.replace("test", "evil");
        assert!(open(&ring, &changed, &signature, SIGNED).unwrap_err().contains("bad"));
        // Not even the line ends may differ: it is no text.
        assert!(open(&ring, &TEXT.replace('\n', "\r\n"), &signature, SIGNED).is_err());
        let stranger = open(&gpg.export(&["stranger"]), TEXT, &signature, SIGNED).unwrap_err();
        assert!(stranger.contains("no key of the keyring"), "{stranger}");
        std::fs::write(gpg.0.join("ring.gpg"), &ring).unwrap();
        let mut gpgv = judge::tool("gpgv");
        gpgv.arg("--keyring").arg(gpg.0.join("ring.gpg")).args(["text.sig", "text"]);
        // By the machine's clock, its end has passed.
        let ran = judge::run(gpgv.current_dir(&gpg.0));
        assert!(!ran.ok && ran.text.contains("Expired signature"), "{}", ran.text);
    }
    let forever = sign(&[]);
    assert_eq!(open(&ring, TEXT, &forever, end * 2).unwrap().expires, None);
    for damaged in [&b""[..], &forever[..forever.len() / 2], TEXT.as_bytes()] {
        assert!(open(&ring, TEXT, damaged, SIGNED).is_err());
    }
}
