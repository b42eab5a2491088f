//! Who signed a certificate, in words.
//!
//! Owns: finding the issuer's name in a certificate that was presented. Refuses to decide anything by it: whom to trust is
//! the verifier's affair, and these words are for people. Invariant: every input is read to an end, and what comes out is
//! foreign text.
//!
//! By hand, because this name is all that is wanted of a certificate: the crates that read the rest of it are eight more
//! in the tree, and the verifier below offers no names.

use crate::untrusted::Untrusted;

/// The issuer's common name and organisation, as far as the certificate says them.
pub(super) fn of(certificate: &[u8]) -> Option<Untrusted> {
    let fields = Der(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    let after_version = match fields.next()? {
        (VERSION, _, rest) => rest,
        _ => fields,
    };
    let (_serial, rest) = after_version.take(INTEGER)?;
    let (_algorithm, rest) = rest.take(SEQUENCE)?;
    let (issuer, _) = rest.take(SEQUENCE)?;
    let (mut name, mut organisation) = (None, None);
    let mut sets = issuer;
    while let Some((set, rest)) = sets.take(SET) {
        sets = rest;
        let mut attributes = set;
        while let Some((attribute, rest)) = attributes.take(SEQUENCE) {
            attributes = rest;
            let Some((kind, value)) = attribute.take(OBJECT_IDENTIFIER) else { continue };
            match kind.0 {
                COMMON_NAME => name = name.or_else(|| value.text()),
                ORGANISATION | UNIT => organisation = organisation.or_else(|| value.text()),
                _ => {}
            }
        }
    }
    let text = match (name, organisation) {
        (Some(name), Some(organisation)) if name != organisation => format!("{name} ({organisation})"),
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return None,
    };
    Some(Untrusted::new(text))
}

/// Elements of a certificate, one after the other.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The first element's tag and content, and what follows it.
    fn next(self) -> Option<(u8, Self, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A certificate is shorter than what needs more than three bytes to count.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((tag, Self(content), Self(rest)))
    }

    /// The content of the first element and what follows, if it is of this kind.
    fn take(self, tag: u8) -> Option<(Self, Self)> {
        self.next().filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
    }

    fn enter(self, tag: u8) -> Option<Self> {
        self.take(tag).map(|(content, _)| content)
    }

    fn text(self) -> Option<String> {
        let (tag, content, _) = self.next()?;
        let text = match tag {
            UTF8_STRING | PRINTABLE_STRING | IA5_STRING => String::from_utf8_lossy(content.0).into_owned(),
            TELETEX_STRING => content.0.iter().copied().map(char::from).collect(),
            BMP_STRING => {
                let units = content.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANISATION: &[u8] = &[0x55, 4, 10];
const UNIT: &[u8] = &[0x55, 4, 11];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CertifiedIssuer, DnType, DnValue, IsCa, KeyPair};

    use super::*;

    fn signed_by(names: &[(DnType, DnValue)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = CertificateParams::new(vec!["x.example".to_owned()]).unwrap();
        leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec()
    }

    fn shown(names: &[(DnType, DnValue)]) -> Option<String> {
        of(&signed_by(names)).map(|issuer| issuer.shown().to_string())
    }

    #[test]
    fn the_issuer_is_its_common_name_and_organisation() {
        let text = |text: &str| DnValue::Utf8String(text.to_owned());
        let (name, organisation) = (DnType::CommonName, DnType::OrganizationName);
        assert_eq!(shown(&[(name.clone(), text("Größe CA"))]).unwrap(), "Größe CA");
        let both = [(organisation.clone(), text("Corp Ltd")), (name.clone(), text("Corp Proxy CA"))];
        assert_eq!(shown(&both).unwrap(), "Corp Proxy CA (Corp Ltd)");
        assert_eq!(shown(&[(organisation, text("Corp Ltd"))]).unwrap(), "Corp Ltd");
        let bmp = DnValue::BmpString("Ω CA".try_into().unwrap());
        assert_eq!(shown(&[(name.clone(), bmp)]).unwrap(), "Ω CA");
        assert_eq!(shown(&[]), None);
        let hostile = shown(&[(name, text("x\x1b]52;c;eA==\x07\r\n"))]).unwrap();
        assert!(!hostile.chars().any(char::is_control), "{hostile:?}");
    }

    proptest! {
        #[test]
        fn anything_is_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = of(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_read_to_an_end(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut certificate = CERTIFICATE.to_vec();
            let at = at.index(certificate.len());
            certificate[at] = byte;
            certificate.truncate(cut.index(certificate.len()));
            let _ = of(&certificate);
        }
    }

    static CERTIFICATE: std::sync::LazyLock<Vec<u8>> =
        std::sync::LazyLock::new(|| signed_by(&[(DnType::CommonName, DnValue::Utf8String("A CA".to_owned()))]));
}
