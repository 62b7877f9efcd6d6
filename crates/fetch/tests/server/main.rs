//! Downloads from a server that lies.
#![expect(clippy::disallowed_types, reason = "the hostile server is ours")]

mod faults;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use fetch::{Address, Client, Machine, Progress, Wanted, all};
use store::{Blob, Store};

/// What the server does with a request: its path, the first byte asked for, how many came before.
type Answer = fn(&str, u64, usize) -> Vec<u8>;

/// A server, the requests that it saw, and its URL.
struct Server {
    seen: Arc<Mutex<Vec<(String, u64)>>>,
    url: String,
}

fn serve(answer: Answer) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (path, from) = request(&stream);
            let before = log.lock().unwrap().len();
            log.lock().unwrap().push((path.clone(), from));
            // Who is cut off in the middle is not our concern.
            let _ = stream.write_all(&answer(&path, from, before));
        }
    });
    Server { seen, url }
}

fn request(stream: &TcpStream) -> (String, u64) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let range = head
        .iter()
        .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    (path, from)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn whole(body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("Content-Length: {}\r\n", body.len()), body)
}

/// What the good server holds.
fn content() -> Vec<u8> {
    (0..50_000u32).flat_map(u32::to_le_bytes).collect()
}

fn store(name: &str) -> Store {
    Store::open(&judge::scratch(&format!("fetch-{name}")), None).unwrap()
}

fn wanted(server: &Server, path: &str, blob: Blob) -> Wanted {
    Wanted {
        what: "package `a 1`".into(),
        blob,
        address: Address::parse(&server.url).unwrap().join(path),
        named_by: "--mirror".into(),
        client: Client::new(Machine::default()),
    }
}

fn get(server: &Server, store: &Store) -> anyhow::Result<()> {
    all(&[wanted(server, "pool/a", Blob::of(&content()))], store, Progress::Silent)
}

fn fails(server: &Server, store: &Store, why: &str) {
    let error = format!("{:#}", get(server, store).unwrap_err());
    assert!(error.contains(why) && error.contains(&server.url), "{error}");
    assert!(!store.has(&Blob::of(&content())));
}

fn requests(server: &Server) -> Vec<u64> {
    server.seen.lock().unwrap().iter().map(|(_, from)| *from).collect()
}

#[test]
fn a_good_file_is_fetched_once_and_then_kept() {
    let server = serve(|_, _, _| whole(&content()));
    let store = store("good");
    get(&server, &store).unwrap();
    get(&server, &store).unwrap();
    assert_eq!(store.read(&Blob::of(&content())).unwrap(), content());
    assert_eq!(requests(&server), [0]);
}

#[test]
fn a_cut_file_is_continued_where_it_was_cut() {
    let server = serve(|_, from, before| {
        let body = content();
        match before {
            0 => answer("200 OK", "Content-Length: 200000\r\n", &body[..70_000]),
            _ => {
                let range = format!(
                    "Content-Length: {}\r\nContent-Range: bytes {from}-199999/200000\r\n",
                    200_000 - from
                );
                answer("206 Partial Content", &range, &body[usize::try_from(from).unwrap()..])
            }
        }
    });
    let store = store("resume");
    get(&server, &store).unwrap();
    assert_eq!(requests(&server), [0, 70_000]);
    assert_eq!(store.read(&Blob::of(&content())).unwrap(), content());
}

#[test]
fn what_an_earlier_run_left_is_used_and_a_torn_rest_is_replaced() {
    let server = serve(|_, from, _| {
        let range = format!("Content-Range: bytes {from}-199999/200000\r\n");
        match from {
            0 => whole(&content()),
            _ => {
                answer("206 Partial Content", &range, &content()[usize::try_from(from).unwrap()..])
            }
        }
    });
    for (name, left, seen) in [
        ("left", content()[..1000].to_vec(), vec![1000]),
        ("torn", vec![7; 1000], vec![1000, 0]),
        ("long", vec![7; 300_000], vec![0]),
    ] {
        let store = store(name);
        let partial = store.root().join("partial");
        std::fs::create_dir_all(&partial).unwrap();
        std::fs::write(partial.join(Blob::of(&content()).digest.to_string()), left).unwrap();
        server.seen.lock().unwrap().clear();
        get(&server, &store).unwrap();
        assert_eq!(requests(&server), seen, "{name}");
        assert_eq!(store.read(&Blob::of(&content())).unwrap(), content());
    }
}

#[test]
fn a_server_that_cannot_continue_starts_over() {
    let server = serve(|_, _, before| match before {
        0 => answer("200 OK", "Content-Length: 200000\r\n", &content()[..70_000]),
        _ => whole(&content()),
    });
    let store = store("over");
    get(&server, &store).unwrap();
    assert_eq!(store.read(&Blob::of(&content())).unwrap(), content());
}

#[test]
fn a_file_that_stays_short_is_cut_and_not_wrong() {
    let server = serve(|_, from, _| match from {
        0 => whole(&content()[..70_000]),
        _ => answer("416 Range Not Satisfiable", "Content-Length: 0\r\n", b""),
    });
    fails(&server, &store("short"), "fetch package `a 1`");
    let server = serve(|_, _, _| whole(&content()[..70_000]));
    fails(&server, &store("short2"), "cut at 70000 of 200000 bytes");
}

#[test]
fn wrong_and_oversized_bytes_are_refused_and_not_asked_for_again() {
    let server = serve(|_, _, _| whole(&vec![7; 200_000]));
    fails(&server, &store("wrong"), "the digest is");
    assert_eq!(requests(&server), [0]);
    let server = serve(|_, _, _| answer("200 OK", "", &[content(), vec![0]].concat()));
    fails(&server, &store("big"), "more than 200000 bytes");
    assert_eq!(requests(&server), [0]);
}

#[test]
fn an_overloaded_server_is_asked_again_and_a_missing_file_is_not() {
    let server = serve(|_, _, before| match before {
        0 => answer("503 Service Unavailable", "Content-Length: 0\r\n", b""),
        1 => answer("429 Too Many Requests", "Retry-After: 1\r\nContent-Length: 0\r\n", b""),
        _ => whole(&content()),
    });
    get(&server, &store("busy")).unwrap();
    assert_eq!(requests(&server).len(), 3);
    let server = serve(|_, _, _| answer("404 Not Found", "Content-Length: 0\r\n", b""));
    fails(&server, &store("gone"), "/pool/a answers 404");
    assert_eq!(requests(&server).len(), 1);
}

#[test]
fn redirections_are_followed_to_an_end() {
    let server = serve(|path, _, _| match path {
        "/pool/a" => answer("302 Found", "Location: /other\r\nContent-Length: 0\r\n", b""),
        _ => whole(&content()),
    });
    get(&server, &store("redirected")).unwrap();
    let server =
        serve(|_, _, _| answer("302 Found", "Location: /pool/a\r\nContent-Length: 0\r\n", b""));
    fails(&server, &store("loop"), "more than 5 redirections");
    let server = serve(|_, _, _| {
        answer("301 Moved", "Location: file:///etc/passwd\r\nContent-Length: 0\r\n", b"")
    });
    fails(&server, &store("file"), "neither http:// nor https://");
}

#[test]
fn names_with_plus_tilde_and_percent_reach_the_server_as_they_are() {
    let server = serve(|_, _, _| whole(&content()));
    let one = wanted(&server, "pool/g++_1.0+b1~rc2_5%3a20.deb", Blob::of(&content()));
    all(&[one], &store("names"), Progress::Silent).unwrap();
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen[0].0, "/pool/g%2B%2B_1.0%2Bb1~rc2_5%253a20.deb");
}

#[test]
fn the_first_failure_in_the_list_is_the_one_that_is_told() {
    let server = serve(|path, _, _| match path {
        "/good" => whole(b"good"),
        _ => answer("404 Not Found", "Content-Length: 0\r\n", b""),
    });
    let store = store("many");
    let bad = (0..3u8).map(|i| wanted(&server, &format!("bad{i}"), Blob::of(&[i])));
    let list: Vec<_> =
        std::iter::once(wanted(&server, "good", Blob::of(b"good"))).chain(bad).collect();
    let error = format!("{:#}", all(&list, &store, Progress::Silent).unwrap_err());
    assert!(error.contains("/bad"), "{error}");
    assert!(store.has(&Blob::of(b"good")));
}
