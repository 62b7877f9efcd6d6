//! One server with one path for each fault: each is refused, named, and leaves the store able to
//! fetch the good file afterwards.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fetch::{Address, Client, Machine, Patience, Progress, Wanted, all, read_machine};
use store::{Blob, Store};

use super::{answer, content, request, store, whole};

const SIZE: usize = 200_000;

/// The paths that were asked for, each with the first byte.
type Log = Arc<Mutex<Vec<(String, u64)>>>;

struct Hostile {
    url: String,
    log: Log,
}

impl Hostile {
    /// Each connection has a thread of its own: a fault may hold one for long.
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log: Log = Arc::default();
        let seen = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, seen) = (stream.unwrap(), seen.clone());
                std::thread::spawn(move || {
                    let (path, from) = request(&stream);
                    let mut seen = seen.lock().unwrap();
                    let before = seen.iter().filter(|(other, _)| *other == path).count();
                    seen.push((path.clone(), from));
                    drop(seen);
                    respond(&mut stream, path.trim_start_matches('/'), from, before);
                });
            }
        });
        Self { url, log }
    }

    fn wanted(&self, path: &str) -> Wanted {
        Wanted {
            what: "package `a 1`".into(),
            blob: Blob::of(&content()),
            address: Address::parse(&self.url).unwrap().join(path),
            named_by: "--mirror".into(),
            client: client(Machine::default()),
        }
    }

    fn get(&self, path: &str, store: &Store) -> Result<(), String> {
        let got = all(&[self.wanted(path)], store, Progress::Silent);
        got.map_err(|error| format!("{error:#}"))
    }

    /// A fault: refused with the object, the address and the reason; nothing of it is kept, and
    /// the next run, of a good server, gives the good bytes.
    fn refused(&self, path: &str, why: &str) {
        let store = store(&path.replace('/', "-"));
        let error = self.get(path, &store).expect_err(path);
        for part in ["package `a 1`", &self.url, "--mirror", why] {
            assert!(error.contains(part), "{path}: `{part}` is not said: {error}");
        }
        let blob = Blob::of(&content());
        assert!(!store.has(&blob), "{path} is in the store");
        self.get("good", &store).unwrap();
        assert_eq!(store.read(&blob).unwrap(), content(), "{path}");
    }

    fn asked(&self, path: &str) -> usize {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|(other, _)| other.trim_start_matches('/') == path)
            .count()
    }
}

/// A client that does not wait for what never comes.
fn client(machine: Machine) -> Client {
    let patience = Patience {
        silence: Duration::from_millis(400),
        slowest: 1 << 20,
        pause: Duration::from_millis(1),
    };
    Client::patient(machine, patience)
}

/// From byte `from` on, as a good server continues.
fn rest(from: u64) -> Vec<u8> {
    let body = content();
    let range = format!(
        "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{SIZE}\r\n",
        SIZE as u64 - from,
        SIZE - 1
    );
    match from {
        0 => whole(&body),
        _ => answer("206 Partial Content", &range, &body[usize::try_from(from).unwrap()..]),
    }
}

fn with_length(length: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("Content-Length: {length}\r\n"), body)
}

fn chunked(body: &[u8]) -> Vec<u8> {
    answer("200 OK", "Transfer-Encoding: chunked\r\n", body)
}

/// Does the fault that the path names.
fn respond(stream: &mut TcpStream, path: &str, from: u64, before: usize) {
    let body = content();
    let (fault, number) = path.split_once('/').unwrap_or((path, ""));
    let number: usize = number.parse().unwrap_or(0);
    let empty = |status: &str, headers: &str| {
        answer(status, &format!("{headers}Content-Length: 0\r\n"), b"")
    };
    let bytes = match fault {
        "cut" => whole(&body[..number]),
        "flipped" => {
            let mut wrong = body;
            wrong[number] ^= 1;
            whole(&wrong)
        }
        "longer" => whole(&[&body[..], b"x"].concat()),
        "reset" if before == 0 => with_length(&SIZE.to_string(), &body[..number]),
        "length-small" => with_length("100", &body),
        "length-large" => with_length("300000", &body[..150_000]),
        "length-negative" => with_length("-1", &body),
        "length-2-63" => with_length("9223372036854775808", &body[..150_000]),
        "length-words" => with_length("many", &body),
        "chunk-large" => chunked(&[b"f0000\r\n", &body[..1000]].concat()),
        "chunk-words" => chunked(&[b"zz\r\n", &body[..1000]].concat()),
        "chunk-longer" => {
            let head = format!("{:x}\r\n", SIZE + 1);
            chunked(&[head.as_bytes(), &body, b"x\r\n0\r\n\r\n"].concat())
        }
        "chunk-good" => {
            let head = format!("{SIZE:x}\r\n");
            chunked(&[head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat())
        }
        // The header lies: nothing but `identity` was asked for.
        "encoded" => {
            let head = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", 20);
            answer("200 OK", &head, b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0")
        }
        "endless" => {
            let _ = stream.write_all(&answer("200 OK", "", b""));
            while stream.write_all(&body).is_ok() {}
            return;
        }
        "stall" => {
            let _ = stream.write_all(&with_length(&SIZE.to_string(), &body[..180_000]));
            std::thread::sleep(Duration::from_secs(3));
            return;
        }
        "silent" => {
            std::thread::sleep(Duration::from_secs(3));
            return;
        }
        "drops" => {
            let _ = stream.write_all(&with_length(&SIZE.to_string(), b""));
            for byte in body {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            return;
        }
        "hop" if number == 0 => rest(from),
        "hop" => empty("302 Found", &format!("Location: /hop/{}\r\n", number - 1)),
        "nowhere" => empty("302 Found", ""),
        "gopher" => empty("302 Found", "Location: gopher://a.test/x\r\n"),
        "control" => empty("302 Found", "Location: http://a.test/\x01\r\n"),
        "range-other" => {
            answer("206 Partial Content", "Content-Range: bytes 5-9/200000\r\n", &body[5..10])
        }
        "range-cut" if from == 0 => with_length(&SIZE.to_string(), &body[..70_000]),
        "range-cut" => {
            let head = "Content-Range: bytes 5-199999/200000\r\nContent-Length: 199995\r\n";
            answer("206 Partial Content", head, &body[5..])
        }
        "status" => {
            let status = format!("{number} Status");
            answer(&status, "Content-Length: 200000\r\n", &body)
        }
        "nonsense" => b"ICY 200 OK\r\n\r\n".to_vec(),
        "headers" => {
            let many: String =
                (0..5000).map(|i| format!("X-{i}: {}\r\n", "x".repeat(50))).collect();
            answer("200 OK", &many, &body)
        }
        "nothing" => Vec::new(),
        _ => rest(from),
    };
    // Who is cut off in the middle is not our concern.
    let _ = stream.write_all(&bytes);
}

#[test]
fn a_package_cut_anywhere_flipped_anywhere_or_one_byte_longer_is_never_kept() {
    let server = Hostile::new();
    let mut cuts: Vec<usize> = (0..SIZE).step_by(64 << 10).collect();
    cuts.extend([1, SIZE - 1]);
    for cut in cuts {
        server.refused(&format!("cut/{cut}"), &format!("cut at {cut} of {SIZE} bytes"));
    }
    for flipped in [0, 1, 65_535, 65_536, 131_072, SIZE - 1] {
        server.refused(&format!("flipped/{flipped}"), "the digest is");
    }
    server.refused("longer", "more than 200000 bytes");
}

#[test]
fn a_length_that_lies_is_found_out() {
    let server = Hostile::new();
    for (path, why) in [
        ("length-small", "gave up after 5 tries"),
        ("length-large", "cut at 150000 of 200000 bytes"),
        ("length-negative", "gave up after 5 tries"),
        ("length-2-63", "gave up after 5 tries"),
        ("length-words", "gave up after 5 tries"),
        ("chunk-large", "gave up after 5 tries"),
        ("chunk-words", "gave up after 5 tries"),
        ("chunk-longer", "more than 200000 bytes"),
        ("encoded", "gave up after 5 tries"),
    ] {
        server.refused(path, why);
    }
    server.get("chunk-good", &store("chunk-good")).unwrap();
}

#[test]
fn a_server_that_dawdles_or_never_ends_is_left() {
    let server = Hostile::new();
    server.refused("endless", "more than 200000 bytes");
    assert_eq!(server.asked("endless"), 1);
    server.refused("stall", "gave up after 5 tries");
    server.refused("silent", "gave up after 5 tries");
    server.refused("drops", "gave up after 5 tries");
}

#[test]
fn a_connection_that_breaks_at_any_offset_is_taken_up_again() {
    let server = Hostile::new();
    for i in 0..64 {
        let path = format!("reset/{}", i * SIZE / 64 + i);
        let store = store(&path.replace('/', "-"));
        server.get(&path, &store).unwrap();
        assert_eq!(store.read(&Blob::of(&content())).unwrap(), content(), "{path}");
        assert_eq!(server.asked(&path), 2, "{path}");
    }
}

#[test]
fn redirections_end_and_lead_to_no_other_scheme() {
    let server = Hostile::new();
    server.get("hop/5", &store("hops")).unwrap();
    for path in ["hop/6", "hop/20"] {
        server.refused(path, "more than 5 redirections");
    }
    server.refused("gopher", "neither http:// nor https://");
    server.refused("control", "gave up after 5 tries");
    server.refused("nowhere", "does not say where to go");
}

#[test]
fn a_status_that_is_no_answer_is_told() {
    let server = Hostile::new();
    for (status, tries) in [(503, 5), (500, 5), (429, 5), (304, 1), (403, 1), (404, 1), (206, 1)] {
        let path = format!("status/{status}");
        server.refused(&path, &format!("answers {status}"));
        assert_eq!(server.asked(&path), tries, "{path}");
    }
    server.refused("range-other", "answers 206");
    server.refused("range-cut", "gave up after 5 tries");
    for path in ["nonsense", "headers", "nothing"] {
        server.refused(path, "gave up after 5 tries");
    }
}

/// A server that notes the whole head of each request and answers one thing.
fn noting(says: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    use std::io::{BufRead, BufReader};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            noted.lock().unwrap().push(head.join("\n").to_lowercase());
            let _ = stream.write_all(&says);
        }
    });
    (host, heads)
}

fn one(url: &str, client: Client, blob: Blob) -> Wanted {
    let address = Address::parse(url).unwrap();
    Wanted { what: "package `a 1`".into(), blob, address, named_by: "--mirror".into(), client }
}

#[test]
fn a_login_is_sent_to_its_own_host_alone_and_never_told() {
    let (other, others) = noting(whole(b"good"));
    let redirect = format!("Location: http://{other}/x\r\nContent-Length: 0\r\n");
    let (own, owns) = noting(answer("302 Found", &redirect, b""));
    let url = format!("http://me:secret@{own}/a");
    let good = one(&url, client(Machine::default()), Blob::of(b"good"));
    all(&[good], &store("login"), Progress::Silent).unwrap();
    assert!(owns.lock().unwrap()[0].contains("authorization: basic"));
    assert!(!others.lock().unwrap()[0].contains("authorization"));

    let bad = one(&url, client(Machine::default()), Blob::of(b"other"));
    let error = all(&[bad], &store("login-bad"), Progress::Silent).unwrap_err();
    assert!(!format!("{error:#} {error:?}").contains("secret"), "{error:#}");
}

/// A machine whose package manager goes through `proxy`.
fn behind(home: &Path, proxy: &str) -> Machine {
    let etc = home.join("etc/apt");
    std::fs::create_dir_all(&etc).unwrap();
    std::fs::write(etc.join("apt.conf"), format!("Acquire::http::Proxy \"{proxy}\";\n")).unwrap();
    read_machine(home).unwrap()
}

#[test]
fn who_cannot_be_reached_is_named() {
    // A port that nobody listens on any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (proxy, _) = noting(answer(
        "407 Proxy Authentication Required",
        "Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n",
        b"",
    ));
    let asks = |name: &str| behind(&judge::scratch(name), &format!("http://me:secret@{proxy}"));
    for (name, url, machine, parts) in [
        ("refused", format!("http://{gone}/a"), Machine::default(), ["gave up", gone.as_str()]),
        ("dns", "http://no..host.test/a".into(), Machine::default(), ["no..host.test", "ask"]),
        ("proxy", "http://a.test/a".into(), asks("proxy-http"), ["407", "a.test"]),
        (
            "tls",
            format!("https://{}/a", noting(whole(b"x")).0),
            Machine::default(),
            ["ask", "127."],
        ),
    ] {
        let wanted = one(&url, client(machine), Blob::of(b"good"));
        let error = all(&[wanted], &store(name), Progress::Silent).unwrap_err();
        let error = format!("{error:#}");
        for part in parts {
            assert!(error.contains(part), "{name}: `{part}` is not said: {error}");
        }
        assert!(!error.contains("secret"), "{error}");
    }
}
