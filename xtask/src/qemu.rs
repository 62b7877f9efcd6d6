//! QEMU under Secure Boot firmware: the command line, the choice of accelerator, the child.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::agent;
use crate::image::hardtack;
use crate::judges;
use crate::powercut::record::{self, RECORDED};
use crate::run::{read, run, target, tool};

const MEMORY: &str = "2048";

/// How long the firmware may take to be heard before an accelerator counts as broken.
const PROBE: Duration = Duration::from_secs(15);

/// Who executes the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

/// A disk of the guest.
pub(crate) struct Drive {
    pub(crate) file: PathBuf,
    /// `qcow2` is written to, `raw` is not, [`RECORDED`] is raw, written to and recorded.
    pub(crate) format: &'static str,
    /// What the guest sees as the disk's serial number; at most 20 characters.
    pub(crate) serial: &'static str,
    /// The disk that the firmware starts.
    pub(crate) boots: bool,
}

/// What the guest's first serial port is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Console {
    /// This terminal, kept in the log as well.
    Terminal,
    /// The log alone.
    Log,
}

/// A machine to start.
pub(crate) struct Machine {
    /// Where its logs lie: `console.log` and `facts.log`, the first and second serial port.
    pub(crate) folder: PathBuf,
    /// The variable store; written to.
    pub(crate) variables: PathBuf,
    pub(crate) drives: Vec<Drive>,
    /// System credentials (systemd.system-credentials(7)), given as SMBIOS type 11 strings.
    pub(crate) credentials: Vec<(String, String)>,
    pub(crate) console: Console,
    /// A reset of the guest ends QEMU.
    pub(crate) one_boot: bool,
    /// The host's end of the guest agent's port; without it there is no such port.
    pub(crate) agent: Option<PathBuf>,
    /// The port of a server on the host's loopback that the guest reaches as 10.0.2.100, port 80.
    pub(crate) feed: Option<u16>,
    pub(crate) processors: u32,
    /// Devices of this machine alone, in QEMU's words.
    pub(crate) devices: &'static [&'static str],
    /// Where QEMU takes orders; without it it takes none.
    pub(crate) monitor: Option<PathBuf>,
}

/// A place for a disk that comes while the machine runs.
pub(crate) const PLUG: &str = "pcie-root-port,id=plug,chassis=1";

/// A running QEMU; it ends with this value.
pub(crate) struct Running {
    child: Child,
    pub(crate) console: PathBuf,
    pub(crate) facts: PathBuf,
}

impl Machine {
    /// Starts it.
    pub(crate) fn start(&self) -> Result<Running> {
        let accelerator = accelerator()?;
        std::fs::create_dir_all(&self.folder)
            .with_context(|| format!("make `{}`", self.folder.display()))?;
        let console = self.folder.join("console.log");
        let facts = self.folder.join("facts.log");
        for log in [&console, &facts] {
            std::fs::write(log, "").with_context(|| format!("empty `{}`", log.display()))?;
        }
        let mut command = emulator(accelerator)?;
        firmware(&mut command, &self.variables)?;
        let log = escape(&console);
        match self.console {
            Console::Terminal => command
                .args(["-chardev", &format!("stdio,id=con,mux=on,signal=off,logfile={log}")])
                .args(["-mon", "chardev=con"]),
            Console::Log => {
                command.args(["-chardev", &format!("file,id=con,path={log}")]).stdin(Stdio::null())
            }
        };
        command.args(["-serial", "chardev:con"]);
        command.args(["-chardev", &format!("file,id=facts,path={}", escape(&facts))]);
        command.args(["-serial", "chardev:facts"]);
        command.args(["-netdev", &network(self.feed)]);
        command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        for (number, drive) in self.drives.iter().enumerate() {
            drive.attach(&mut command, number)?;
        }
        for (number, (name, value)) in self.credentials.iter().enumerate() {
            let file = self.folder.join(format!("credential-{number}"));
            let text = format!("io.systemd.credential.binary:{name}={}", base64(value.as_bytes()));
            std::fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
            command.args(["-smbios", &format!("type=11,path={}", escape(&file))]);
        }
        if let Some(socket) = &self.agent {
            let _ = std::fs::remove_file(socket);
            let host = format!("socket,id=agent,server=on,wait=off,path={}", escape(socket));
            command.args(["-chardev", &host, "-device", "virtio-serial-pci", "-device"]);
            command.arg(format!("virtserialport,chardev=agent,name={}", agent::PORT));
        }
        if self.one_boot {
            command.arg("-no-reboot");
        }
        command.args(["-smp", &self.processors.to_string()]);
        command.args(self.devices.iter().flat_map(|device| ["-device", device]));
        if let Some(socket) = &self.monitor {
            let _ = std::fs::remove_file(socket);
            let host = format!("socket,id=monitor,server=on,wait=off,path={}", escape(socket));
            command.args(["-chardev", &host, "-mon", "chardev=monitor"]);
        }
        let child = command.spawn().context("start QEMU")?;
        Ok(Running { child, console, facts })
    }
}

impl Drive {
    fn attach(&self, command: &mut Command, number: usize) -> Result<()> {
        let (file, format) = (escape(&self.file), self.format);
        if format == RECORDED {
            command.args(["-blockdev", &record::node(&self.file, &format!("disk{number}"))?]);
        } else {
            let once = if format == "raw" { ",readonly=on" } else { ",cache=unsafe" };
            let drive = format!("if=none,id=disk{number},file={file},format={format}{once}");
            command.args(["-drive", &drive]);
        }
        let mut device = format!("virtio-blk-pci,drive=disk{number},serial={}", self.serial);
        if self.boots {
            device.push_str(",bootindex=1");
        }
        command.args(["-device", &device]);
        Ok(())
    }
}

impl Running {
    /// Its end, if it came.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("ask for QEMU's end")
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("wait for QEMU's end")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU's user network. What a guest sends to the one fixed address goes through a program of its
/// own for each connection, so that it does not matter which port is free here. The program is this
/// one, by a name that holds when it is compiled anew meanwhile.
fn network(feed: Option<u16>) -> String {
    let Some(port) = feed else { return "user,id=net".to_owned() };
    let this = std::process::id();
    format!("user,id=net,guestfwd=tcp:10.0.2.100:80-cmd:/proc/{this}/exe pipe {port}")
}

/// A throw-away disk over `base`, of `size` if it shall be larger.
pub(crate) fn overlay(base: &Path, file: &Path, size: Option<&str>) -> Result<()> {
    let overlay = base.extension().is_some_and(|end| end == "qcow2");
    let format = if overlay { "qcow2" } else { "raw" };
    let _ = std::fs::remove_file(file);
    let base = base.canonicalize().with_context(|| format!("find `{}`", base.display()))?;
    let mut command = tool("qemu-img")?;
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(base).arg(file);
    run(command.args(size)).with_context(|| format!("make the overlay `{}`", file.display()))
}

/// What the guest left in an overlay, as a raw disk beside it.
pub(crate) fn flat(overlay: &Path) -> Result<PathBuf> {
    let raw = overlay.with_extension("raw");
    let mut convert = tool("qemu-img")?;
    run(convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(overlay).arg(&raw))
        .context("make a raw copy of the disk that was booted")?;
    Ok(raw)
}

/// A variable store in which the keys under `target/keys` are enrolled.
pub(crate) fn variables(file: &Path) -> Result<()> {
    let _ = std::fs::remove_file(file);
    let mut command = hardtack();
    command.args(["keys", "ovmf", "--template"]).arg(pair()?.1);
    command.arg("--keys").arg(target().join("keys")).arg("--output").arg(file);
    read(&mut command).context("enrol the keys in a variable store")?;
    Ok(())
}

/// KVM where it really starts the Secure Boot firmware; found out once a run.
pub(crate) fn accelerator() -> Result<Accelerator> {
    static CHOSEN: OnceLock<Accelerator> = OnceLock::new();
    if let Some(chosen) = CHOSEN.get() {
        return Ok(*chosen);
    }
    let why = if !Path::new("/dev/kvm").exists() {
        Some("there is no /dev/kvm".to_owned())
    } else if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        Some("/dev/kvm may not be opened by this user".to_owned())
    } else {
        probe()?
    };
    let chosen = match why {
        None => {
            println!("qemu: KVM starts the Secure Boot firmware here");
            Accelerator::Kvm
        }
        Some(why) => {
            println!("qemu: emulating without KVM ({why}); a boot takes a minute or two");
            Accelerator::Tcg
        }
    };
    Ok(*CHOSEN.get_or_init(|| chosen))
}

/// Starts the real firmware with the real memory size under KVM; says why it must not be used. A
/// crash, a hang and silence are all a no.
fn probe() -> Result<Option<String>> {
    let folder = target().join("boot/probe");
    std::fs::create_dir_all(&folder).context("make the probe's folder")?;
    let (console, store, errors) =
        (folder.join("console.log"), folder.join("variables.fd"), folder.join("errors.log"));
    std::fs::write(&console, "").context("empty the probe's log")?;
    std::fs::copy(pair()?.1, &store).context("copy the firmware's variable store")?;
    let mut command = emulator(Accelerator::Kvm)?;
    firmware(&mut command, &store)?;
    command.args(["-chardev", &format!("file,id=con,path={}", escape(&console))]);
    command.args(["-serial", "chardev:con", "-no-reboot"]).stdin(Stdio::null());
    command.stderr(std::fs::File::create(&errors).context("make the probe's log")?);
    let child = command.spawn().context("start QEMU")?;
    let mut running = Running { child, console, facts: PathBuf::new() };
    let start = Instant::now();
    while start.elapsed() < PROBE {
        // Only the firmware's last phase says this: its early text proves little.
        if text(&running.console).contains("BdsDxe") {
            return Ok(None);
        }
        if running.ended()?.is_some() {
            let said = text(&errors);
            let last = said.trim().lines().last().unwrap_or("it ended at once").to_owned();
            return Ok(Some(last.rsplit(": ").next().unwrap_or_default().to_owned()));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(Some(format!("with it the firmware was silent for {} s", PROBE.as_secs())))
}

fn emulator(accelerator: Accelerator) -> Result<Command> {
    let inner = tool("qemu-system-x86_64")?;
    // Whatever ends this program, a signal too, ends QEMU.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(inner.get_program());
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-m", MEMORY]);
    command.args(["-device", "virtio-rng-pci"]);
    match accelerator {
        Accelerator::Kvm => command.args(["-machine", "q35,smm=on,accel=kvm", "-cpu", "host"]),
        Accelerator::Tcg => command.args(["-machine", "q35,smm=on,accel=tcg", "-cpu", "Nehalem"]),
    };
    Ok(command)
}

/// The Secure Boot build, its variables guarded by system management mode.
fn firmware(command: &mut Command, variables: &Path) -> Result<()> {
    let (code, _) = pair()?;
    command.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
    command.args(["-global", "ICH9-LPC.disable_s3=1"]);
    let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escape(&code));
    let store = format!("if=pflash,unit=1,format=raw,file={}", escape(variables));
    command.args(["-drive", &code, "-drive", &store]);
    Ok(())
}

/// Firmware code and variables that belong together: the two fill one flash chip exactly.
fn pair() -> Result<(PathBuf, PathBuf)> {
    const CHIP: u64 = 4 << 20;
    let folder = judges::root().join("usr/share/OVMF");
    let code = folder.join("OVMF_CODE_4M.secboot.fd");
    let variables = folder.join("OVMF_VARS_4M.fd");
    let size = |file: &Path| {
        let data = std::fs::metadata(file);
        data.map(|data| data.len()).with_context(|| format!("find firmware `{}`", file.display()))
    };
    if size(&code)? + size(&variables)? != CHIP {
        bail!("`{}` and its variable store are not of one flavour", code.display());
    }
    Ok((code, variables))
}

/// A log so far, as text; the guest may write anything.
pub(crate) fn text(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

/// QEMU's options are separated by commas.
pub(crate) fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// RFC 4648, section 4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let byte = |at: usize| u32::from(piece.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > piece.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::console::{Ending, Patience, watch};

    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let samples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in samples {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_firmware_speaks_on_the_chosen_accelerator_and_ends_when_dropped() {
        let folder = target().join("scratch/xtask-firmware");
        std::fs::create_dir_all(&folder).unwrap();
        let variables = folder.join("variables.fd");
        std::fs::copy(pair().unwrap().1, &variables).unwrap();
        // A drive that boots takes the network out of the firmware's list.
        let file = folder.join("blank.raw");
        std::fs::write(&file, vec![0; 1 << 20]).unwrap();
        let machine = Machine {
            folder,
            variables,
            drives: vec![Drive { file, format: "raw", serial: "blank", boots: true }],
            credentials: vec![("a.name".into(), "a, value".into())],
            console: Console::Log,
            one_boot: true,
            agent: None,
            feed: None,
            processors: 1,
            devices: &[],
            monitor: None,
        };
        let mut running = machine.start().unwrap();
        let patience =
            Patience { silence: Duration::from_secs(60), whole: Duration::from_secs(120) };
        let said = watch(&mut running, patience, &mut |console, _| console.contains("BdsDxe"));
        assert_eq!(said.unwrap(), Ending::Said);
        let process = PathBuf::from(format!("/proc/{}", running.child.id()));
        assert!(process.exists());
        drop(running);
        assert!(!process.exists());
    }

    #[test]
    fn a_comma_in_a_path_stays_in_the_path() {
        assert_eq!(escape(Path::new("/a,b")), "/a,,b");
    }
}
