//! Names and places: 3.3 X1, X2, X3, X5, X9, X10, X11 of the catalogue of faults.

use package::Kind;

use super::{package, read, refuse, tar};

#[test]
fn a_path_that_leaves_the_tree_or_is_not_plain_is_refused() {
    let bad = "is not a path inside a package";
    let paths =
        ["../x", "/x", "a/../../x", "./../x", "a/./b", "a//b", "", "..", "./.", "././x", "x/", "/"];
    for path in paths {
        refuse(vec![(path, tar().file(path, ""), bad)]);
    }
    refuse(vec![
        ("directory that climbs", tar().directory("./a/../b/"), bad),
        ("root as a file", tar().file("./", ""), "the root"),
        ("root as a link", tar().symlink("./", "/etc"), "the root"),
    ]);
    let good = tar().directory("./").directory("./a/").file("a/b", "1").file("./c", "");
    assert_eq!(read(&package(good)).unwrap().keys().collect::<Vec<_>>(), ["a", "a/b", "c"]);
}

#[test]
fn a_hard_link_to_anything_but_an_earlier_file_is_refused() {
    let earlier = "which no earlier file is";
    refuse(vec![
        ("outside", tar().hard_link("./x", "../etc/shadow"), "is not a path inside"),
        ("absolute", tar().hard_link("./x", "/etc/shadow"), "is not a path inside"),
        ("missing", tar().hard_link("./x", "./y"), earlier),
        ("itself", tar().hard_link("./x", "./x"), earlier),
        ("directory", tar().directory("./d/").hard_link("./x", "./d"), earlier),
        ("later entry", tar().hard_link("./x", "./y").file("./y", "1"), earlier),
        ("symbolic link", tar().symlink("./l", "/etc").hard_link("./x", "./l"), earlier),
        ("root", tar().hard_link("./x", "./"), "links to `/`"),
        ("nothing", tar().hard_link("./x", ""), "has no target"),
    ]);
    let good = tar().file("./a", "1").hard_link("./b", "./a").hard_link("./c", "b");
    let found = read(&package(good)).unwrap();
    assert_eq!(found["c"].0.kind, Kind::Hardlink("b".into()));
}

#[test]
fn nothing_is_written_through_a_link_in_either_order() {
    refuse(vec![
        ("through it", tar().symlink("./x", "/etc").file("./x/passwd", ""), "lies below `x`"),
        ("deep below", tar().symlink("./x", "/e").file("./x/a/b", ""), "lies below `x`"),
        ("directory over it", tar().symlink("./x", "/etc").directory("./x/"), "comes twice"),
        ("over a directory", tar().directory("./x/").symlink("./x", "/etc"), "comes twice"),
        ("over what has files", tar().file("./x/y", "").symlink("./x", "/etc"), "no directory"),
        ("a file over files", tar().file("./x/y", "").file("./x", ""), "`x/y` lies below it"),
        ("file over link", tar().symlink("./x", "/etc/passwd").file("./x", "1"), "comes twice"),
        ("below a file", tar().file("./x", "").file("./x/y", ""), "lies below `x`"),
    ]);
}

#[test]
fn what_no_image_holds_is_refused_by_kind() {
    for kind in *b"346789VMDNSgAZ~" {
        let error = read(&package(tar().with(kind, b"./odd", b"", |_| {}))).unwrap_err();
        let says = error.contains("`odd` is a device, pipe or another thing")
            || (kind == b'g' && error.contains("for all entries"))
            || (kind == b'S' && error.contains("sparse"));
        assert!(says, "{}: {error}", char::from(kind));
    }
}

#[test]
fn odd_names_are_kept_where_linux_keeps_them_and_refused_else() {
    let bad = "is not a path inside a package";
    let long = |length: usize| "n".repeat(length);
    refuse(vec![
        ("not UTF-8", tar().with(b'0', b"./\xff", b"", |_| {}), "is not UTF-8"),
        ("NUL in a long name", tar().long(b'L', b"./a\0b").file("x", ""), "holds NUL"),
        ("new line", tar().file("./a\nb", ""), bad),
        ("escape", tar().file("./\u{1b}[2J", ""), bad),
        ("delete", tar().file("./a\u{7f}", ""), bad),
        ("right to left", tar().file("./a\u{202e}gpj.exe", ""), bad),
        ("isolate", tar().file("./a\u{2066}b", ""), bad),
        ("256 bytes", tar().long(b'L', long(256).as_bytes()).file("x", ""), bad),
        (
            "4,096 bytes",
            tar().long(b'L', &[b"a/".repeat(2047), b"bb".to_vec()].concat()).file("x", ""),
            bad,
        ),
        ("target with a new line", tar().symlink("./x", "a\nb"), "control characters"),
        ("target of 4,096 bytes", tar().long(b'K', &[b'a'; 4096]).symlink("x", ""), "too long"),
    ]);
    let deep = format!("{}x", "d/".repeat(1000));
    let good = [&long(255), "Fő tanúsítvány.crt", "a b\\c\"'$`*?", "日本", &deep];
    for name in good {
        let one = tar().long(b'L', name.as_bytes()).file("cut", "1");
        assert_eq!(read(&package(one)).unwrap().keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn a_path_comes_once_unless_it_is_the_same_directory() {
    let odd = tar().directory("./d/").with(b'5', b"./d/", b"", |header| {
        judge::forge::put(header, judge::forge::field::MODE, b"0001777");
    });
    refuse(vec![
        ("file", tar().file("./x", "1").file("./x", "1"), "`x` comes twice"),
        ("file as directory", tar().file("./x", "").directory("./x/"), "`x` comes twice"),
        ("spelt otherwise", tar().file("./x", "").file("x", ""), "`x` comes twice"),
        ("directory of another mode", odd, "`d` comes twice, and not the same"),
    ]);
    assert!(read(&package(tar().directory("./d/").directory("d"))).is_ok());
}

#[test]
fn names_that_only_a_case_blind_system_confuses_are_two_names() {
    let both = tar().file("./a", "1").file("./A", "2").file("./\u{e9}", "").file("./e\u{301}", "");
    assert_eq!(read(&package(both)).unwrap().len(), 4);
}
