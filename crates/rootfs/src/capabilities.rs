//! File capabilities: from the text that people write to the attribute that the kernel reads.

use std::fmt;

use anyhow::Result;
use package::CapabilitySets;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The attribute's name (capabilities(7)).
pub(crate) const ATTRIBUTE: &str = "security.capability";

/// `struct vfs_cap_data` of `linux/capability.h`: revision 2, and the flag for "effective".
const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// What a program may do that its caller may not, as one clause of cap_text_formats(7):
/// `cap_net_raw=ep`, `cap_net_admin,cap_net_raw+ep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    text: String,
    value: [u8; 20],
}

/// The attribute's value, little-endian: sets by the capability's number, whether they are in effect
/// from the start.
pub(crate) fn value(permitted: u64, inheritable: u64, effective: bool) -> [u8; 20] {
    let magic = REVISION_2 | if effective { EFFECTIVE } else { 0 };
    let mut value = [0; 20];
    let low = |set: u64| (set & u64::from(u32::MAX)).to_le_bytes();
    let high = |set: u64| (set >> 32).to_le_bytes();
    let words = [low(permitted), low(inheritable), high(permitted), high(inheritable)];
    let (head, rest) = value.split_at_mut(4);
    head.copy_from_slice(&magic.to_le_bytes());
    for (place, word) in rest.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word[..4]);
    }
    value
}

impl Capabilities {
    /// Reads a clause.
    ///
    /// # Errors
    /// An unknown name or flag, none of either, or more than one clause.
    pub fn parse(text: &str) -> Result<Self> {
        let sets = CapabilitySets::parse(text)?;
        let value = value(sets.permitted, sets.inheritable, sets.effective);
        Ok(Self { text: text.to_owned(), value })
    }

    /// The attribute's value: `struct vfs_cap_data`, revision 2, little-endian.
    pub fn value(&self) -> Vec<u8> {
        self.value.to_vec()
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        let value = Capabilities::parse(text).unwrap().value();
        value.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn values_are_those_that_setcap_writes() {
        // Read back with getfattr from files that setcap (libcap 2.66) was given the same text.
        assert_eq!(hex("cap_net_raw=ep"), "0100000200200000000000000000000000000000");
        assert_eq!(hex("cap_net_admin,cap_net_raw+p"), "0000000200300000000000000000000000000000");
        assert_eq!(hex("cap_bpf=ei"), "0100000200000000000000000000000080000000");
    }

    #[test]
    fn what_gives_nothing_or_is_unknown_is_refused() {
        for text in ["", "cap_net_raw", "cap_net_raw=", "cap_net_raw=e", "cap_net_raw=epx", "=ep"] {
            assert!(Capabilities::parse(text).is_err(), "{text}");
        }
        for text in ["net_raw=ep", "cap_of_war=ep", "cap_kill=p cap_bpf=p", "cap_kill-p"] {
            assert!(Capabilities::parse(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Capabilities>(r#""cap_of_war=ep""#).is_err());
    }
}
