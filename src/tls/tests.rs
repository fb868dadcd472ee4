//! Sessions against the client of `rustls` itself, byte by byte where that can matter.

use std::io::{Read, Write};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, PKCS_RSA_SHA256};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};

use super::session::{RECORD_BYTES_MAX, RECORD_OVERHEAD};
use super::*;
use crate::limits::{TLS_FLIGHT_BYTES_MAX, TLS_INCOMING_BYTES_MAX};
use crate::metrics::TlsVersion;

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

/// An authority and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Pem {
        Pem { name: "ca".to_owned(), text: self.0.pem().into_bytes() }
    }

    fn pair(&self, names: &[&str]) -> Pair {
        self.pair_with(names, &KeyPair::generate().unwrap())
    }

    fn pair_with(&self, names: &[&str], key: &KeyPair) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(names.clone()).unwrap();
        let certificate = params.signed_by(key, &self.0).unwrap();
        Pair {
            certificate: Pem { name: names.join(","), text: certificate.pem().into_bytes() },
            key: Pem { name: "key".to_owned(), text: key.serialize_pem().into_bytes() },
        }
    }

    fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap()
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], shows: Option<&Pair>) -> ClientConfig {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(self.verifier());
        let mut config = match shows {
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(&pair.certificate.text).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(&pair.key.text).unwrap();
                builder.with_client_auth_cert(chain.unwrap(), key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(8);
        config
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client and a session, and bytes between them in chunks of a size.
struct Talk {
    client: ClientConnection,
    session: Session,
    chunk: usize,
    gathered: Vec<u8>,
    /// What the server has got, and the most it held on the way.
    plain: Vec<u8>,
    held_max: usize,
    /// Records that the client was sent.
    records: Vec<u8>,
    downloaded: Vec<u8>,
    received: Received,
}

impl Talk {
    fn new(offer: &Offer, client: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            session: Session::new(Arc::clone(&offer.config)).unwrap(),
            chunk: usize::MAX,
            gathered: Vec::new(),
            plain: Vec::new(),
            held_max: 0,
            records: Vec::new(),
            downloaded: Vec::new(),
            received: Received::default(),
        }
    }

    /// Everything that the client has to send goes to the server, in chunks.
    fn upstream(&mut self) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        self.feed(&bytes)
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        for chunk in bytes.chunks(self.chunk.min(8192)) {
            let received = self.session.receive(&mut chunk.to_vec(), &mut self.plain)?;
            self.received.has_shaken |= received.has_shaken;
            self.received.is_established |= received.is_established;
            self.received.is_ended |= received.is_ended;
            self.held_max = self.held_max.max(self.session.held_bytes());
        }
        Ok(())
    }

    /// Flights with these pieces until all of them are sent; how many it took.
    fn downstream(&mut self, pieces: &[&[u8]], is_last: bool) -> usize {
        let total: usize = pieces.iter().map(|piece| piece.len()).sum();
        let (mut sent, mut flights) = (0, 0);
        loop {
            let mut skip = sent;
            let rest = pieces.iter().filter_map(|piece| {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                (skipped < piece.len()).then(|| &piece[skipped..])
            });
            self.session.take_off(Vec::new(), rest, &mut self.gathered, is_last);
            flights += 1;
            let Some(flight) = self.session.in_flight() else { return flights };
            let flight = flight.to_vec();
            assert!(flight.len() <= TLS_FLIGHT_BYTES_MAX + 8 * RECORD_OVERHEAD + 4096, "{}", flight.len());
            assert!(self.session.held_bytes() < 2 * TLS_FLIGHT_BYTES_MAX);
            self.records.extend_from_slice(&flight);
            let mut unread = &flight[..];
            while !unread.is_empty() {
                self.client.read_tls(&mut unread).unwrap();
                // What is wrong the client says itself.
                let _ = self.client.process_new_packets();
                let _ = self.client.reader().read_to_end(&mut self.downloaded);
            }
            assert_eq!(self.session.sent(flight.len() - 1), None, "one byte is under way");
            let (plain, _) = self.session.sent(1).unwrap();
            sent += plain;
            if sent == total && !self.session.has_outgoing() {
                return flights;
            }
        }
    }

    fn shake_hands(&mut self) -> Result<(), Broken> {
        for _ in 0..4 {
            self.upstream()?;
            if self.session.has_outgoing() {
                self.downstream(&[], false);
            }
        }
        assert!(self.session.takes_plaintext() && self.received.is_established);
        Ok(())
    }

    fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.downloaded)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        for part in bytes.chunks(RECORD_BYTES_MAX) {
            self.client.writer().write_all(part).unwrap();
            self.upstream()?;
        }
        Ok(())
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Lengths of the records in these bytes.
fn lengths(mut records: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, ..] = *records {
        let len = 5 + usize::from(u16::from_be_bytes([high, low]));
        lengths.push(len);
        records = &records[len..];
    }
    lengths
}

#[test]
fn every_chunking_of_a_handshake_and_a_message_gives_the_same_plaintext() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        // Without tickets of the client's each handshake is whole.
        let mut config = authority.client(&[version], None);
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        for chunk in (1..=64).chain([100, 255, 256, 300, 511, 512, 1000, 4096, 8192]) {
            let mut talk = Talk::new(&offer, &config, "localhost");
            talk.chunk = chunk;
            talk.shake_hands().unwrap();
            let message = pattern(3000);
            talk.write(&message).unwrap();
            assert_eq!(talk.plain, message, "{version:?} in chunks of {chunk}");
            talk.downstream(&[&message], false);
            assert_eq!(talk.read(), message);
            assert_eq!(talk.session.held_bytes(), 0, "an idle session holds no buffer");
            assert!(talk.held_max <= 2 * TLS_INCOMING_BYTES_MAX, "{}", talk.held_max);
            let expected =
                if version.version == ProtocolVersion::TLSv1_3 { TlsVersion::V1_3 } else { TlsVersion::V1_2 };
            assert_eq!(talk.session.version(), Some((expected, false)));
        }
    }
}

#[test]
fn a_record_that_comes_in_two_parts_is_one_wherever_it_is_cut() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut talk = Talk::new(&offer, &config, "localhost");
        talk.shake_hands().unwrap();
        for cut in 0..140 {
            talk.client.writer().write_all(&pattern(100)).unwrap();
            let mut record = Vec::new();
            talk.client.write_tls(&mut record).unwrap();
            let (first, second) = record.split_at(cut.min(record.len()));
            talk.feed(first).unwrap();
            if cut < record.len() {
                assert!(talk.plain.is_empty());
                // What is sent meanwhile is not mixed up with what is kept.
                talk.downstream(&[b"meanwhile"], false);
                assert_eq!(talk.read(), b"meanwhile");
            }
            talk.feed(second).unwrap();
            assert_eq!(std::mem::take(&mut talk.plain), pattern(100), "cut at {cut}");
        }
    }
}

#[test]
fn small_pieces_share_a_record_and_large_ones_go_in_bounded_flights() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut talk = Talk::new(&offer, &config, "localhost");
        talk.shake_hands().unwrap();
        talk.records.clear();
        let (small, large) = (pattern(100), pattern(1 << 20));
        let frames: Vec<&[u8]> = (0..100).map(|_| &*small).collect();
        assert_eq!(talk.downstream(&frames, false), 1);
        let overhead = lengths(&talk.records)[0] - 10_000;
        assert_eq!(lengths(&talk.records).len(), 1, "a hundred frames are one record");
        assert!((5 + 16..=RECORD_OVERHEAD).contains(&overhead), "{overhead}");
        assert_eq!(talk.read(), small.repeat(100));
        // Every boundary of records and flights between pieces.
        for pieces in [
            vec![&large[..]],
            vec![&small[..], &large[..], &small[..]],
            vec![&large[..RECORD_BYTES_MAX], &small],
            vec![&large[..RECORD_BYTES_MAX - 50], &small, &large[..RECORD_BYTES_MAX - 50]],
            vec![&large[..TLS_FLIGHT_BYTES_MAX], &small],
            vec![&large[..TLS_FLIGHT_BYTES_MAX - 50], &small, &small],
            vec![&small[..], &[], &large[..3 * RECORD_BYTES_MAX + 1], &[], &small[..1]],
        ] {
            talk.records.clear();
            let total = pieces.concat();
            let flights = talk.downstream(&pieces, false);
            assert_eq!(flights, total.len().div_ceil(TLS_FLIGHT_BYTES_MAX));
            assert!(talk.read() == total, "{} pieces", pieces.len());
            let most = total.len().div_ceil(RECORD_BYTES_MAX) + 2 * flights;
            assert!(lengths(&talk.records).len() <= most, "{:?}", lengths(&talk.records));
            assert_eq!(talk.session.held_bytes(), 0);
        }
    }
}

#[test]
fn a_large_message_comes_in_whole_and_little_of_it_is_held() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut talk = Talk::new(&offer, &config, "localhost");
        talk.shake_hands().unwrap();
        talk.held_max = 0;
        let message = pattern(1 << 20);
        talk.write(&message).unwrap();
        assert!(talk.plain == message);
        assert!(talk.held_max <= 2 * TLS_INCOMING_BYTES_MAX, "{}", talk.held_max);
    }
}

#[test]
fn the_last_flight_says_that_it_is_the_last() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let mut talk = Talk::new(&offer, &config, "localhost");
        talk.shake_hands().unwrap();
        assert_eq!(talk.downstream(&[b"bye"], true), 1);
        assert_eq!(talk.read(), b"bye");
        assert_eq!(talk.client.reader().read(&mut [0]).unwrap(), 0, "a clean end");
        talk.session.close();
        assert!(!talk.session.has_outgoing() && !talk.session.takes_plaintext(), "it is said once");
        // The peer answers with the same.
        talk.client.send_close_notify();
        talk.upstream().unwrap();
        assert!(talk.received.is_ended && talk.session.is_ended());
        talk.feed(b"whatever follows").unwrap();
        assert_eq!(talk.session.held_bytes(), 0);
    }
}

#[test]
fn a_bad_record_ends_the_session_with_an_alert_and_nothing_of_it_counts() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        for spoiled in [5, 20, 100] {
            let mut talk = Talk::new(&offer, &config, "localhost");
            talk.shake_hands().unwrap();
            talk.client.writer().write_all(&pattern(100)).unwrap();
            let mut record = Vec::new();
            talk.client.write_tls(&mut record).unwrap();
            record[spoiled] ^= 1;
            assert_eq!(talk.feed(&record), Err(Broken::Tls(rustls::Error::DecryptError)));
            assert!(talk.plain.is_empty() && !talk.session.takes_plaintext() && talk.session.has_outgoing());
            talk.downstream(&[], false);
            let error = talk.client.process_new_packets().unwrap_err();
            assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
            // Whatever comes now is not looked at.
            assert_eq!(talk.session.receive(&mut record, &mut talk.plain), Ok(Received::default()));
            assert_eq!(talk.session.held_bytes(), 0);
        }
    }
}

#[test]
fn what_is_no_handshake_ends_it_and_no_more_than_the_bound_is_ever_held() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    let begin = || Session::new(Arc::clone(&offer.config)).unwrap();
    let mut plain = Vec::new();
    for garbage in [
        &b"\x16\x03\x01\xFF\xFF"[..],
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x17\x03\x03\x00\x10aaaaaaaaaaaaaaaa",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut session = begin();
        assert!(session.receive(&mut garbage.to_vec(), &mut plain).is_err(), "{garbage:?}");
    }
    // A message of a handshake that says it is long, in records that go on for ever.
    let mut record = vec![22, 3, 1, 0x20, 0];
    record.extend_from_slice(&[1, 0, 0xFF, 0xFF]);
    record.resize(5 + 0x2000, 0);
    let mut session = begin();
    let mut fed = 0;
    let broken = loop {
        if let Err(broken) = session.receive(&mut record.clone(), &mut plain) {
            break broken;
        }
        fed += record.len();
        assert!(fed < 4 * TLS_INCOMING_BYTES_MAX, "it is held for ever");
        assert!(session.held_bytes() <= 2 * TLS_INCOMING_BYTES_MAX, "{}", session.held_bytes());
        record[5..9].fill(0);
    };
    assert!(matches!(broken, Broken::TooLong | Broken::Tls(_)), "{broken}");
    assert_eq!(session.keep(&[0; TLS_INCOMING_BYTES_MAX + 1]), Err(Broken::TooLong));
    let mut session = begin();
    assert_eq!(session.keep(&[0; TLS_INCOMING_BYTES_MAX + 1]), Err(Broken::TooLong));
    assert!(
        session.is_broken() && session.held_bytes() == 0,
        "it has failed once, and holds nothing for a second time"
    );
    assert!(plain.is_empty());
}

#[test]
fn what_is_kept_for_later_is_gone_on_with_in_order() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    let config = Arc::new(authority.client(&BOTH, None));
    let mut talk = Talk::new(&offer, &config, "localhost");
    let mut hello = Vec::new();
    talk.client.write_tls(&mut hello).unwrap();
    for part in hello.chunks(100) {
        talk.session.keep(part).unwrap();
        assert!(!talk.session.has_outgoing(), "nobody has looked");
    }
    talk.feed_nothing();
    assert!(talk.session.has_outgoing() && talk.received.has_shaken);
    talk.downstream(&[], false);
    talk.shake_hands().unwrap();
}

impl Talk {
    fn feed_nothing(&mut self) {
        self.received = self.session.receive(&mut [], &mut self.plain).unwrap();
    }
}

#[test]
fn keys_may_change_on_the_way_in_both_directions() {
    let authority = Authority::new();
    let offer = Offer::new(&[authority.pair(&["localhost"])], None, None).unwrap();
    let config = Arc::new(authority.client(&[&version::TLS13], None));
    let mut talk = Talk::new(&offer, &config, "localhost");
    talk.shake_hands().unwrap();
    for round in 0..40 {
        talk.client.refresh_traffic_keys().unwrap();
        talk.write(b"with a new key").unwrap();
        assert_eq!(std::mem::take(&mut talk.plain), b"with a new key", "{round}");
        talk.downstream(&[b"and the answer"], false);
        assert_eq!(talk.read(), b"and the answer", "{round}");
    }
}

#[test]
fn an_earlier_session_goes_on_also_with_certificates_that_were_read_again() {
    let authority = Authority::new();
    let pairs = [authority.pair(&["localhost"])];
    let offer = Offer::new(&pairs, None, None).unwrap();
    let again = Offer::new(&[authority.pair(&["localhost"])], None, Some(&offer)).unwrap();
    let other = Offer::new(&pairs, None, None).unwrap();
    for version in BOTH {
        let config = Arc::new(authority.client(&[version], None));
        let is_resumed = |offer: &Offer| {
            let mut talk = Talk::new(offer, &config, "localhost");
            talk.shake_hands().unwrap();
            talk.downstream(&[b"with a ticket"], false);
            assert_eq!(talk.read(), b"with a ticket");
            talk.session.version().unwrap().1
        };
        assert!(!is_resumed(&offer));
        assert!(is_resumed(&offer), "{version:?}");
        assert!(is_resumed(&again), "tickets outlive certificates");
        assert!(!is_resumed(&other), "and not the process");
    }
}

#[test]
fn clients_get_the_certificate_for_the_name_they_ask_for() {
    let authority = Authority::new();
    let pairs = [
        authority.pair(&["first.example"]),
        authority.pair(&["second.example", "*.second.example"]),
        authority.pair(&["third.example"]),
    ];
    let offer = Offer::new(&pairs, None, None).unwrap();
    let config = Arc::new(authority.client(&BOTH, None));
    for (name, place) in [
        ("first.example", 0),
        ("second.example", 1),
        ("SECOND.example", 1),
        ("a.second.example", 1),
        ("third.example", 2),
    ] {
        let mut talk = Talk::new(&offer, &config, name);
        talk.shake_hands().unwrap();
        let shown = talk.client.peer_certificates().unwrap()[0].clone();
        let expected = CertificateDer::from_pem_slice(&pairs[place].certificate.text).unwrap();
        assert_eq!(shown, expected, "{name}");
    }
    // One for nobody gets the first, and does not believe it.
    for name in ["unknown.example", "a.b.second.example", "192.0.2.1"] {
        let mut talk = Talk::new(&offer, &config, name);
        talk.upstream().unwrap();
        talk.downstream(&[], false);
        let error = talk.client.process_new_packets().unwrap_err();
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{name}: {error}");
        assert!(talk.upstream().is_err(), "the alert of the client");
    }
}

#[test]
fn where_certificates_of_clients_are_asked_for_nobody_gets_in_without() {
    let (authority, others) = (Authority::new(), Authority::new());
    let pairs = [authority.pair(&["localhost"])];
    let ca = authority.pem();
    let offer = Offer::new(&pairs, Some(&ca), None).unwrap();
    let (known, unknown) = (authority.pair(&["a client"]), others.pair(&["somebody"]));
    for version in BOTH {
        let outcome = |shows: Option<&Pair>| {
            let config = Arc::new(authority.client(&[version], shows));
            let mut talk = Talk::new(&offer, &config, "localhost");
            let mut outcome = Ok(());
            for _ in 0..4 {
                outcome = outcome.and_then(|()| talk.upstream());
                if talk.session.has_outgoing() {
                    talk.downstream(&[], false);
                }
            }
            outcome.map(|()| talk.session.takes_plaintext())
        };
        assert_eq!(outcome(Some(&known)), Ok(true));
        assert_eq!(outcome(None), Err(Broken::Tls(rustls::Error::NoCertificatesPresented)));
        assert!(matches!(outcome(Some(&unknown)), Err(Broken::Tls(rustls::Error::InvalidCertificate(_)))));
    }
    // A ticket stands for the certificate that was shown: another authority takes none of before.
    let config = Arc::new(authority.client(&BOTH, Some(&known)));
    let is_resumed = |offer: &Offer| {
        let mut talk = Talk::new(offer, &config, "localhost");
        talk.shake_hands().map(|()| {
            talk.downstream(&[b"with a ticket"], false);
            talk.session.version().is_some_and(|(_, is_resumed)| is_resumed)
        })
    };
    assert_eq!(is_resumed(&offer), Ok(false));
    let same = Offer::new(&pairs, Some(&ca), Some(&offer)).unwrap();
    assert_eq!(is_resumed(&same), Ok(true));
    let another = Offer::new(&pairs, Some(&others.pem()), Some(&offer)).unwrap();
    assert!(is_resumed(&another).is_err());
}

#[test]
fn what_cannot_be_used_says_which_file_and_why() {
    let authority = Authority::new();
    let (one, two) = (authority.pair(&["a.example"]), authority.pair(&["b.example"]));
    let text = |name: &str, text: &[u8]| Pem { name: name.to_owned(), text: text.to_vec() };
    let problem = |certificate: &Pem, key: &Pem| {
        let pair = Pair { certificate: certificate.clone(), key: key.clone() };
        Offer::new(&[pair], None, None).unwrap_err().to_string()
    };
    assert_eq!(problem(&one.certificate, &two.key), "key: it is not the key of a.example");
    assert!(
        problem(&text("cert.pem", b"nothing"), &one.key).starts_with("cert.pem: there is no certificate")
    );
    assert!(problem(&one.certificate, &text("key.pem", b"")).starts_with("key.pem: there is no private key"));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(problem(&text("cert.pem", broken), &one.key).starts_with("cert.pem: "));
    let empty = Offer::new(std::slice::from_ref(&one), Some(&text("ca.pem", b"")), None).unwrap_err();
    assert!(empty.to_string().starts_with("ca.pem: there is no certificate"));
}

#[test]
fn it_is_known_whose_signatures_take_long() {
    let authority = Authority::new();
    let rsa = authority.pair_with(&["localhost"], &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    assert!(Offer::new(&[authority.pair(&["a"]), rsa], None, None).unwrap().may_sign_slowly);
    assert!(!Offer::new(&[authority.pair(&["a"])], None, None).unwrap().may_sign_slowly);
}
