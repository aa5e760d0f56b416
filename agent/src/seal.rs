//! Seal: compress (zstd), then encrypt (age), then sum. Stock `age -d | zstd -d` opens what comes out; nothing of ours is in between.

use crate::digest::{Digest, Hasher};
use crate::error::{Error, Reason, Result};
use crate::keys::Recipients;
use bytes::{Bytes, BytesMut};
use std::io::Write;

/// The sealed bytes are summed in pieces of this size, so that each can be checked before anything is decrypted.
pub const CHUNK_BYTES: usize = 4 << 20;

/// Level 1: on etcd's own data it is 4 % larger than level 3 and costs half the processor time, which is etcd's to have.
const ZSTD_LEVEL: i32 = 1;

/// The SHA-256 of each `CHUNK_BYTES` of a sealed object, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(Vec<Digest>);

impl Sums {
    /// One lowercase hex line a chunk.
    pub fn to_text(&self) -> String {
        self.0.iter().map(|digest| format!("{digest}\n")).collect()
    }

    /// Reads the text back; it must have exactly the lines that an object of `sealed_bytes` needs.
    pub fn parse(text: &str, sealed_bytes: u64) -> Result<Self, String> {
        let sums = text.lines().map(str::parse).collect::<Result<Vec<Digest>, _>>()?;
        let wanted = sealed_bytes.div_ceil(CHUNK_BYTES as u64);
        if sums.len() as u64 != wanted {
            return Err(format!("{} sums where {sealed_bytes} bytes need {wanted}", sums.len()));
        }
        Ok(Sums(sums))
    }

    /// Whether these are the bytes of chunk `index`.
    pub fn matches(&self, index: usize, bytes: &[u8]) -> bool {
        self.0.get(index).is_some_and(|digest| *digest == Digest::of(bytes))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What was sealed, as the manifest will say it.
#[derive(Clone, Debug)]
pub struct SealReceipt {
    pub bytes: u64,
    pub sha256: Digest,
    pub sums: Sums,
    pub recipients: Vec<Digest>,
}

/// Takes plaintext, gives sealed chunks to `out` as they fill. You **must** call `finish`, or there is no receipt.
pub struct Sealer<F: FnMut(Bytes) -> std::io::Result<()>> {
    chain: zstd::Encoder<'static, age::stream::StreamWriter<Chunks<F>>>,
    recipients: Vec<Digest>,
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Sealer<F> {
    /// `expected` is the plaintext's size, where it is known: it only helps the compressor.
    pub fn new(recipients: &Recipients, out: F) -> Result<Self> {
        let encryptor = age::Encryptor::with_recipients(recipients.as_dyn()).map_err(|source| {
            Error::new(Reason::Config, "these recipients cannot be used together").because(source)
        })?;
        let chunks = Chunks { buffer: BytesMut::with_capacity(CHUNK_BYTES), whole: Hasher::default(), sums: Sums::default(), bytes: 0, out };
        let sealed = encryptor.wrap_output(chunks).map_err(failed)?;
        let mut chain = zstd::Encoder::new(sealed, ZSTD_LEVEL).map_err(failed)?;
        chain.multithread(1).map_err(failed)?;
        chain.include_checksum(true).map_err(failed)?;
        Ok(Sealer { chain, recipients: recipients.fingerprints() })
    }

    pub fn push(&mut self, plaintext: &[u8]) -> Result<()> {
        self.chain.write_all(plaintext).map_err(failed)
    }

    pub fn finish(self) -> Result<SealReceipt> {
        let chunks = self.chain.finish().and_then(age::stream::StreamWriter::finish).map_err(failed)?;
        let (bytes, sha256, sums) = chunks.finish().map_err(failed)?;
        Ok(SealReceipt { bytes, sha256, sums, recipients: self.recipients })
    }
}

/// The chain's own errors are what `out` answered: the upload's end hung up, and it says itself why.
fn failed(source: std::io::Error) -> Error {
    Error::new(Reason::Internal, "sealing stopped").because(source)
}

/// Cuts the sealed bytes into chunks and sums them.
struct Chunks<F: FnMut(Bytes) -> std::io::Result<()>> {
    buffer: BytesMut,
    whole: Hasher,
    sums: Sums,
    bytes: u64,
    out: F,
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Chunks<F> {
    fn cut(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK_BYTES)).freeze();
        self.whole.update(&chunk);
        self.sums.0.push(Digest::of(&chunk));
        self.bytes += chunk.len() as u64;
        (self.out)(chunk)
    }

    fn finish(mut self) -> std::io::Result<(u64, Digest, Sums)> {
        if !self.buffer.is_empty() {
            self.cut()?;
        }
        Ok((self.bytes, self.whole.finish(), self.sums))
    }
}

impl<F: FnMut(Bytes) -> std::io::Result<()>> Write for Chunks<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = CHUNK_BYTES - self.buffer.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() == CHUNK_BYTES {
            self.cut()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_age_and_zstd_and_its_sums_fit() {
        let identity = age::x25519::Identity::generate();
        let recipients = Recipients::new(vec![identity.to_public()]).unwrap();
        let mut noise = 1u64;
        let plaintext: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        })
        .take(9_000_000)
        .collect();
        let mut sealed: Vec<Bytes> = Vec::new();
        let mut sealer = Sealer::new(&recipients, |chunk| {
            sealed.push(chunk);
            Ok(())
        })
        .unwrap();
        for piece in plaintext.chunks(70_001) {
            sealer.push(piece).unwrap();
        }
        let receipt = sealer.finish().unwrap();
        assert!(sealed.len() > 1);
        for (index, chunk) in sealed.iter().enumerate() {
            assert!(receipt.sums.matches(index, chunk));
        }
        assert_eq!(Sums::parse(&receipt.sums.to_text(), receipt.bytes).unwrap(), receipt.sums);
        assert!(Sums::parse(&receipt.sums.to_text(), receipt.bytes + (CHUNK_BYTES as u64)).is_err());
        let sealed = sealed.concat();
        assert_eq!(receipt.sha256, Digest::of(&sealed));
        let opened = age::decrypt(&identity, &sealed).unwrap();
        assert_eq!(zstd::decode_all(&opened[..]).unwrap(), plaintext);
    }
}
